//! What a request can take, what it usually takes, and what it took.
//!
//! Amounts of money are micro-units of the currency of the target's price. Currencies are not converted: a config whose caps count
//! money has one currency in all of its prices.

use inshore_domain::{Amounts, Capability, Facts, Money, Price, Target, Tier, Usage};

use crate::inspect::{ADDED, BYTES_PER_TOKEN};

/// What an answer without a limit is taken to have: only estimates and the order of targets depend on it.
const USUAL_ANSWER: u32 = 512;

/// The most that one outbound call for this request can take: what is set aside before it. Nothing on the device, which
/// no cap covers.
///
/// Every prompt token at the dearest price a prompt token can have, and every answer as long as it may be: the request's
/// limit, else the target's, else its whole context window. Fractions round up, and what leaves 64 bits stays at their end.
pub fn worst_case(facts: &Facts, target: &Target) -> Amounts {
    let input = target.price.map_or(0, |price| price.dearest_input());
    amounts(facts, target, facts.prompt_tokens_at_most, longest(facts, target), input)
}

/// What one outbound call for this request usually takes: an estimate of the prompt, none of it cached, and an answer of
/// ordinary length.
pub fn usual(facts: &Facts, target: &Target) -> Amounts {
    let longest = longest(facts, target);
    // The low estimate is of the longest prompt alone; all of them together are counted in bytes.
    let together = facts.prompt_tokens_at_most.saturating_sub(ADDED as u32) / BYTES_PER_TOKEN as u32;
    let input = target.price.map_or(0, |price| price.input);
    amounts(facts, target, facts.prompt_tokens.max(together), longest.min(USUAL_ANSWER), input)
}

fn longest(facts: &Facts, target: &Target) -> u32 {
    facts.max_output_tokens.or(target.max_output).unwrap_or(target.context_window)
}

fn amounts(facts: &Facts, target: &Target, prompt: u32, answer: u32, input: u64) -> Amounts {
    if target.tier == Tier::Device {
        return Amounts::default();
    }
    let answers = if facts.needs.has(Capability::Embeddings) { 0 } else { facts.answers.max(1) };
    let answer = u64::from(answer).saturating_mul(u64::from(answers));
    let output = target.price.map_or(0, |price| price.output);
    Amounts {
        money: micros([(u64::from(prompt), input), (answer, output)]),
        tokens: u64::from(prompt).saturating_add(answer),
        calls: 1,
        bytes_out: facts.bytes_at_most,
    }
}

/// What the tokens cost, rounded up to a whole micro-unit. Prompt tokens that a provider had cached, and those that it wrote
/// into its cache, have prices of their own.
pub fn cost(price: &Price, usage: &Usage) -> Money {
    let cached = usage.cached_tokens.min(usage.prompt_tokens);
    let written = usage.cache_write_tokens.min(usage.prompt_tokens - cached);
    let fresh = usage.prompt_tokens - cached - written;
    let micros = micros([
        (u64::from(fresh), price.input),
        (u64::from(cached), price.cached_input),
        (u64::from(written), price.cache_write),
        (u64::from(usage.output_tokens), price.output),
    ]);
    Money { micros: i64::try_from(micros).unwrap_or(i64::MAX), currency: price.currency }
}

/// Tokens at prices for a million, rounded up once at the end.
fn micros<const N: usize>(tokens_and_prices: [(u64, u64); N]) -> u64 {
    let products =
        tokens_and_prices.map(|(tokens, price)| u128::from(tokens).saturating_mul(u128::from(price)));
    let sum = products.into_iter().fold(0_u128, u128::saturating_add);
    u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{facts, target};
    use inshore_domain::Currency;
    use proptest::prelude::*;

    #[test]
    fn cached_and_written_tokens_have_their_own_prices_and_fractions_round_up() {
        let flat = Price::flat(Currency::USD, 2_000_000, 8_000_000);
        let price = Price { cached_input: 200_000, cache_write: 2_500_000, ..flat };
        let usage = Usage {
            prompt_tokens: 1_000,
            cached_tokens: 600,
            cache_write_tokens: 100,
            output_tokens: 50,
            ..Usage::default()
        };
        assert_eq!(cost(&price, &usage).micros, 300 * 2 + 600 / 5 + 250 + 50 * 8);
        let one = Usage { prompt_tokens: 1, cached_tokens: 1, ..Usage::default() };
        assert_eq!(cost(&price, &one).micros, 1);
        assert_eq!(cost(&price, &Usage::default()).micros, 0);
        // A provider that counts its cache apart from the prompt is not paid for tokens that were not there.
        let odd = Usage { prompt_tokens: 10, cached_tokens: 20, cache_write_tokens: 5, ..Usage::default() };
        assert_eq!(cost(&price, &odd).micros, 2);
    }

    #[test]
    fn the_worst_case_is_the_dearest_prompt_and_the_longest_answers() {
        let mut there = target("openai/big", Tier::Cloud);
        there.price =
            Some(Price { cache_write: 3_000_000, ..Price::flat(Currency::USD, 1_000_000, 2_000_000) });
        let asked = Facts { answers: 3, bytes_at_most: 700, ..facts("auto") };
        let window = u64::from(there.context_window);
        let expected =
            Amounts { money: 500 * 3 + 3 * window * 2, tokens: 500 + 3 * window, calls: 1, bytes_out: 700 };
        assert_eq!(worst_case(&asked, &there), expected);
        there.max_output = Some(100);
        assert_eq!(worst_case(&asked, &there).tokens, 500 + 300);
        let limited = Facts { max_output_tokens: Some(10), ..asked.clone() };
        assert_eq!(worst_case(&limited, &there).tokens, 500 + 30);
        let embedding =
            Facts { needs: inshore_domain::Capabilities::NONE.with(Capability::Embeddings), ..asked };
        assert_eq!(worst_case(&embedding, &there).money, 500 * 3);
        assert_eq!(worst_case(&limited, &target("device/x", Tier::Device)), Amounts::default());
    }

    fn any_facts() -> impl Strategy<Value = Facts> {
        let limit = proptest::option::of(any::<u32>());
        (any::<u32>(), any::<u32>(), any::<u32>(), limit).prop_map(|(tokens, more, answers, limit)| Facts {
            prompt_tokens: tokens,
            prompt_tokens_at_most: tokens.saturating_add(more),
            answers,
            max_output_tokens: limit,
            ..facts("auto")
        })
    }

    proptest! {
        #[test]
        fn nothing_usual_and_nothing_that_was_used_costs_more_than_the_worst_case(
            facts in any_facts(),
            prices in any::<[u64; 4]>(),
            max_output in proptest::option::of(any::<u32>()),
            (prompt, cached, written, output) in any::<(u32, u32, u32, u32)>(),
        ) {
            let mut there = target("openai/big", Tier::Cloud);
            there.max_output = max_output;
            let [input, cached_input, cache_write, output_price] = prices;
            let price = Price { cached_input, cache_write, ..Price::flat(Currency::USD, input, output_price) };
            there.price = Some(price);
            let worst = worst_case(&facts, &there);
            let usual = usual(&facts, &there);
            prop_assert!(usual.money <= worst.money && usual.tokens <= worst.tokens);

            let longest = facts.max_output_tokens.or(max_output).unwrap_or(there.context_window);
            let usage = Usage {
                prompt_tokens: prompt.min(facts.prompt_tokens_at_most),
                cached_tokens: cached,
                cache_write_tokens: written,
                output_tokens: output.min(longest),
                reasoning_tokens: 0,
            };
            let cost = u64::try_from(cost(&price, &usage).micros).unwrap();
            prop_assert!(cost <= worst.money, "{cost} > {}", worst.money);
        }
    }
}

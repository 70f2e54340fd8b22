//! Keeps an answer to a form: JSON schema, regular expression, Lark or GBNF grammar. By llguidance, in safe Rust.

use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use crate::child::gbnf;
use crate::child::llama::{Model, TokenId};
use crate::frames::Constraint;

/// The longest grammar that is read. The largest JSON schemas in use (FHIR) have 3 MB.
const MAX_SOURCE: usize = 4 << 20;

/// The bytes of every token of a model, marks behind 0xFF, and the tokens that end an answer, the likeliest first.
pub(crate) fn words_of(model: &Model) -> Result<(Vec<Vec<u8>>, Vec<u32>), String> {
    let Some(end) = model.end() else {
        return Err("the model has no token that ends an answer, which a grammar needs".to_owned());
    };
    let mut words = Vec::with_capacity(model.vocab_size());
    let mut ends = vec![u32::try_from(end).unwrap_or_default()];
    for token in 0..TokenId::try_from(model.vocab_size()).unwrap_or(0) {
        let mut word = Vec::new();
        if model.is_control(token) || model.is_end(token) {
            word.push(TokTrie::SPECIAL_TOKEN_MARKER);
        }
        model.append_piece(token, true, &mut word);
        if token != end && model.is_end(token) {
            ends.push(u32::try_from(token).unwrap_or_default());
        }
        words.push(word);
    }
    Ok((words, ends))
}

/// Reads grammars for one vocabulary. Building it walks the whole vocabulary many times, which takes a second for a large
/// one: so it is built when the first grammar comes, on a thread of its own.
pub(crate) struct Constraints {
    factory: ParserFactory,
}

impl std::fmt::Debug for Constraints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Constraints")
    }
}

/// A grammar and how far an answer has come in it.
pub(crate) struct Constrained {
    matcher: Matcher,
    mask: Option<SimpleVob>,
}

impl std::fmt::Debug for Constrained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Constrained")
    }
}

/// Why no token can follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConstraintError {
    /// The grammar is at its end.
    Complete,
    /// The grammar allows nothing, or is too costly to follow.
    Failed(String),
}

impl Constraints {
    /// For a vocabulary given as the bytes of each token; the marks begin with 0xFF.
    pub(crate) fn for_words(words: &[Vec<u8>], ends: &[u32]) -> Result<Self, String> {
        let (Some(end), Ok(size)) = (ends.first(), u32::try_from(words.len())) else {
            return Err("the vocabulary is too large".to_owned());
        };
        let trie = TokTrie::from(&TokRxInfo::new(size, *end), words).with_eos_tokens(ends);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
            .map_err(|error| error.to_string())?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
        Ok(Self { factory })
    }

    /// Reads a grammar.
    pub(crate) fn read(&self, constraint: &Constraint) -> Result<Constrained, String> {
        let (Constraint::JsonSchema(source)
        | Constraint::Gbnf(source)
        | Constraint::Lark(source)
        | Constraint::Regex(source)) = constraint;
        if source.len() > MAX_SOURCE {
            return Err(format!("the grammar has {} bytes, and at most {MAX_SOURCE} are read", source.len()));
        }
        let mut limits = self.factory.limits().clone();
        let grammar = match constraint {
            Constraint::JsonSchema(schema) => {
                let schema = serde_json::from_str(schema)
                    .map_err(|error| format!("the schema is not JSON: {error}"))?;
                TopLevelGrammar::from_json_schema(schema)
            }
            Constraint::Regex(regex) => TopLevelGrammar::from_regex(regex),
            Constraint::Lark(lark) => TopLevelGrammar::from_lark(lark.clone()),
            Constraint::Gbnf(source) => {
                // Every character of a GBNF grammar is a step of the parser of its own.
                limits.step_max_items = 4_000_000;
                limits.max_items_in_row = 10_000;
                TopLevelGrammar::from_lark(gbnf::to_lark(source)?)
            }
        };
        let parser = self.factory.create_parser_from_init_ext(
            llguidance::api::GrammarInit::Serialized(grammar),
            llguidance::Logger::new(0, 0),
            InferenceCapabilities::default(),
            limits,
        );
        let matcher = Matcher::new(parser);
        match matcher.get_error() {
            Some(error) => Err(first_line(&error)),
            None => Ok(Constrained { matcher, mask: None }),
        }
    }
}

impl Constrained {
    /// The tokens that may follow, one bit for each.
    pub(crate) fn mask(&mut self) -> Result<&[u32], ConstraintError> {
        if self.matcher.is_stopped() {
            return Err(match self.matcher.get_error() {
                Some(error) => ConstraintError::Failed(first_line(&error)),
                None => ConstraintError::Complete,
            });
        }
        let mask = self
            .matcher
            .compute_mask()
            .map_err(|error| ConstraintError::Failed(first_line(&error.to_string())))?;
        Ok(self.mask.insert(mask).as_slice())
    }

    /// Takes the token that was drawn. True: the grammar is at its end.
    pub(crate) fn accept(&mut self, token: u32) -> Result<bool, String> {
        self.matcher.consume_token(token).map_err(|error| first_line(&error.to_string()))?;
        Ok(self.matcher.is_stopped())
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 256 single bytes and an end.
    fn bytes() -> Constraints {
        let mut words: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
        words.push(b"\xff<end>".to_vec());
        Constraints::for_words(&words, &[256]).unwrap()
    }

    /// Whether a grammar takes a whole text, and its end after it.
    fn takes(constraint: &Constraint, text: &str) -> bool {
        let mut constrained = bytes().read(constraint).unwrap();
        for byte in text.bytes() {
            let Ok(mask) = constrained.mask() else { return false };
            if mask[usize::from(byte) / 32] >> (byte % 32) & 1 == 0 {
                return false;
            }
            constrained.accept(u32::from(byte)).unwrap();
        }
        match constrained.mask() {
            Ok(mask) => mask[256 / 32] & 1 == 1,
            Err(error) => error == ConstraintError::Complete,
        }
    }

    #[test]
    fn schemas_regexes_and_grammars_are_kept() {
        let schema = Constraint::JsonSchema(r#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}"#.into());
        assert!(takes(&schema, r#"{"a":12}"#));
        assert!(!takes(&schema, r#"{"b":12}"#));
        assert!(!takes(&schema, r#"{"a":12"#));
        let regex = Constraint::Regex("[ab]+c".into());
        assert!(takes(&regex, "abac"));
        assert!(!takes(&regex, "abad"));
        assert!(takes(&Constraint::Lark("start: \"x\" /[0-9]+/".into()), "x42"));
    }

    #[test]
    fn gbnf_grammars_are_kept() {
        let check = |grammar: &str, good: &[&str], bad: &[&str]| {
            let constraint = Constraint::Gbnf(grammar.to_owned());
            for text in good {
                assert!(takes(&constraint, text), "{grammar} should take {text}");
            }
            for text in bad {
                assert!(!takes(&constraint, text), "{grammar} should not take {text}");
            }
        };
        check("root ::= \"yes\" | \"no\"", &["yes", "no"], &["maybe", "ye"]);
        check("root ::= [a-z]+ \"!\" | \"xyz\" \"?\"", &["xyz!", "xyz?", "a!"], &["abc?", "!"]);
        check("root ::= \"(\" root \")\" | \"\"", &["", "()", "((()))"], &["(()", ")"]);
        check("root ::= item{2,3}\nitem ::= [0-9]", &["12", "123"], &["1", "1234"]);
        check("root ::= [^\"\\\\\\n]* \"\\u00e9\" # tail", &["abcé", "é"], &["a\"é"]);
        check("root ::= ( \"a\" | \"b\" )? \"c\"\n  | \"d\" .", &["ac", "c", "dx"], &["abc", "d"]);
    }

    #[test]
    fn bad_grammars_are_errors() {
        let constraints = bytes();
        let bad = [
            Constraint::JsonSchema("{".into()),
            Constraint::JsonSchema(r#"{"type":"nothing"}"#.into()),
            Constraint::Regex("(".into()),
            Constraint::Lark("start: missing".into()),
            Constraint::Gbnf("root ::= other".into()),
            Constraint::Gbnf("".into()),
            Constraint::Gbnf("root ::= \"a".into()),
            Constraint::Gbnf("root ::= [a-".into()),
            Constraint::Gbnf("root ::= \"a\"{999999999}".into()),
            Constraint::Gbnf(format!("root ::= {}\"a\"{}", "(".repeat(100_000), ")".repeat(100_000))),
        ];
        for constraint in bad {
            assert!(constraints.read(&constraint).is_err(), "{constraint:?}");
        }
    }
}

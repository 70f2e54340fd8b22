//! From prompts to tokens.

use crate::child::llama::{Model, TokenId};
use crate::frames::{Piece, Prompt, WorkError};

/// The tokens of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// All of them.
    pub(crate) all: Vec<TokenId>,
    /// Whether the first is the model's begin-of-text token, which a shortened prompt keeps.
    pub(crate) begins: bool,
}

/// What a tokenizer has to do; the model does it, and tests stand in for it.
pub(crate) trait Tokenizer {
    /// Cuts text into tokens. `start`: with the model's own beginning. `markup`: names of special tokens are special.
    fn cut(&self, text: &str, start: bool, markup: bool) -> Result<Vec<TokenId>, String>;
    /// Whether a token is special.
    fn special(&self, token: TokenId) -> bool;
    /// The token that the model wants in front.
    fn first(&self) -> Option<TokenId>;
    /// The tokens before prefix, suffix and gap.
    fn infill_marks(&self) -> Option<[TokenId; 3]>;
    /// Whether the number is a token.
    fn exists(&self, token: TokenId) -> bool;
}

impl Tokenizer for Model {
    fn cut(&self, text: &str, start: bool, markup: bool) -> Result<Vec<TokenId>, String> {
        self.tokenize(text, start, markup)
    }
    fn special(&self, token: TokenId) -> bool {
        self.is_special(token)
    }
    fn first(&self) -> Option<TokenId> {
        self.begin()
    }
    fn infill_marks(&self) -> Option<[TokenId; 3]> {
        self.infill()
    }
    fn exists(&self, token: TokenId) -> bool {
        self.is_token(token)
    }
}

/// The tokens of a prompt.
pub(crate) fn tokens(tokenizer: &impl Tokenizer, prompt: &Prompt) -> Result<Tokens, WorkError> {
    let failed = |message| WorkError::Internal { message };
    let all = match prompt {
        Prompt::Text(text) => tokenizer.cut(text, true, false).map_err(failed)?,
        Prompt::Pieces(pieces) => of_pieces(tokenizer, pieces).map_err(failed)?,
        Prompt::Tokens(tokens) => checked(tokenizer, tokens)?,
        Prompt::Infill { prefix, suffix } => of_gap(tokenizer, prefix, suffix)?,
    };
    let begins = tokenizer.first().is_some_and(|first| all.first() == Some(&first));
    if all.is_empty() {
        return Err(WorkError::BadParameter {
            field: "prompt".into(),
            message: "the prompt has no tokens".into(),
        });
    }
    Ok(Tokens { all, begins })
}

/// How many tokens of the whole prompt the first `count` pieces make.
pub(crate) fn piece_tokens(
    tokenizer: &impl Tokenizer,
    pieces: &[Piece],
    count: usize,
    all: &[TokenId],
) -> usize {
    let head = of_pieces(tokenizer, pieces.get(..count).unwrap_or(pieces)).unwrap_or_default();
    // The last token of the head may be another one when text follows.
    head.iter().zip(all).take_while(|(a, b)| a == b).count()
}

fn checked(tokenizer: &impl Tokenizer, tokens: &[u32]) -> Result<Vec<TokenId>, WorkError> {
    let known = |token: &u32| TokenId::try_from(*token).ok().filter(|token| tokenizer.exists(*token));
    let found: Option<Vec<TokenId>> = tokens.iter().map(known).collect();
    found.ok_or_else(|| WorkError::BadParameter {
        field: "prompt".into(),
        message: "the prompt holds a number that is no token of this model".into(),
    })
}

fn of_gap(tokenizer: &impl Tokenizer, prefix: &str, suffix: &str) -> Result<Vec<TokenId>, WorkError> {
    let Some([before, after, gap]) = tokenizer.infill_marks() else {
        return Err(WorkError::Unsupported {
            message: "the model has no tokens for filling in the middle".into(),
        });
    };
    let failed = |message| WorkError::Internal { message };
    let mut all: Vec<TokenId> = tokenizer.first().into_iter().collect();
    all.push(before);
    all.extend(tokenizer.cut(prefix, false, false).map_err(failed)?);
    all.push(after);
    all.extend(tokenizer.cut(suffix, false, false).map_err(failed)?);
    all.push(gap);
    Ok(all)
}

/// Chat templates are tokenised as one text, as models were trained, because cutting it at the pieces' borders would change
/// the tokens there. Only when what people wrote names a special token are the pieces tokenised one by one, so that the
/// name stays text.
fn of_pieces(tokenizer: &impl Tokenizer, pieces: &[Piece]) -> Result<Vec<TokenId>, String> {
    let whole: String = pieces.iter().map(text_of).collect();
    let together = tokenizer.cut(&whole, false, true)?;
    let special = |tokens: &[TokenId]| tokens.iter().filter(|token| tokenizer.special(**token)).count();
    let mut separate = Vec::new();
    let mut marks = 0;
    for piece in pieces {
        let tokens = tokenizer.cut(text_of(piece), false, matches!(piece, Piece::Markup(_)))?;
        if matches!(piece, Piece::Markup(_)) {
            marks += special(&tokens);
        }
        separate.extend(tokens);
    }
    let mut all = if special(&together) == marks { together } else { separate };
    if let Some(first) = tokenizer.first()
        && all.first() != Some(&first)
    {
        all.insert(0, first);
    }
    Ok(all)
}

fn text_of(piece: &Piece) -> &str {
    match piece {
        Piece::Markup(text) | Piece::Text(text) => text,
    }
}

/// Makes a prompt fit into `room` tokens by dropping its oldest, the begin-of-text token excepted.
pub(crate) fn shorten(tokens: &mut Tokens, room: usize) {
    let excess = tokens.all.len().saturating_sub(room.max(1));
    let start = usize::from(tokens.begins && room > 1);
    if excess > 0 {
        tokens.all.drain(start..(start + excess).min(tokens.all.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token for each byte; `<s>` and `<e>` are special tokens 256 and 257.
    struct Bytes;

    impl Tokenizer for Bytes {
        fn cut(&self, text: &str, start: bool, markup: bool) -> Result<Vec<TokenId>, String> {
            let mut tokens: Vec<TokenId> = if start { vec![256] } else { Vec::new() };
            let mut rest = text;
            while let Some(byte) = rest.bytes().next() {
                if markup && rest.starts_with("<s>") {
                    tokens.push(256);
                    rest = &rest[3..];
                } else if markup && rest.starts_with("<e>") {
                    tokens.push(257);
                    rest = &rest[3..];
                } else {
                    tokens.push(i32::from(byte));
                    rest = &rest[1..];
                }
            }
            Ok(tokens)
        }
        fn special(&self, token: TokenId) -> bool {
            token > 255
        }
        fn first(&self) -> Option<TokenId> {
            Some(256)
        }
        fn infill_marks(&self) -> Option<[TokenId; 3]> {
            None
        }
        fn exists(&self, token: TokenId) -> bool {
            (0..258).contains(&token)
        }
    }

    #[test]
    fn special_tokens_in_what_people_wrote_stay_text() {
        let pieces =
            vec![Piece::Markup("<s>".into()), Piece::Text("a<e>".into()), Piece::Markup("<e>".into())];
        let found = tokens(&Bytes, &Prompt::Pieces(pieces)).unwrap();
        assert_eq!(found.all, [256, 97, 60, 101, 62, 257]);
        assert!(found.begins);
    }

    #[test]
    fn a_missing_beginning_is_added_once() {
        let pieces = |text: &str| Prompt::Pieces(vec![Piece::Markup(text.into())]);
        assert_eq!(tokens(&Bytes, &pieces("a")).unwrap().all, [256, 97]);
        assert_eq!(tokens(&Bytes, &pieces("<s>a")).unwrap().all, [256, 97]);
    }

    #[test]
    fn foreign_numbers_and_empty_prompts_are_refused() {
        assert!(matches!(tokens(&Bytes, &Prompt::Tokens(vec![1, 900])), Err(WorkError::BadParameter { .. })));
        assert!(matches!(tokens(&Bytes, &Prompt::Tokens(vec![])), Err(WorkError::BadParameter { .. })));
        let gap = Prompt::Infill { prefix: "a".into(), suffix: "b".into() };
        assert!(matches!(tokens(&Bytes, &gap), Err(WorkError::Unsupported { .. })));
    }

    #[test]
    fn shortening_drops_the_oldest_and_keeps_the_beginning() {
        let mut long = Tokens { all: vec![256, 1, 2, 3, 4], begins: true };
        shorten(&mut long, 3);
        assert_eq!(long.all, [256, 3, 4]);
        let mut short = Tokens { all: vec![1, 2], begins: false };
        shorten(&mut short, 3);
        assert_eq!(short.all, [1, 2]);
    }
}

//! Prefixes that outlive the process: their state goes to the daemon in pieces, and comes back in pieces.
//!
//! What comes back is checked before llama.cpp sees it: it must be whole, made by a context with cells of the same size, and
//! belong to the tokens that are named with it. The daemon keeps it from falling into wrong hands.

use std::collections::HashMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::Scheduler;
use super::memory::Kinship;
use crate::child::llama::TokenId;
use crate::frames::{FromChild, STATE_PIECE, StatePiece};

/// Changes whenever the bytes mean something else.
const VERSION: u32 = 1;
/// Bytes of states that are being restored at once.
const MAX_RESTORING: usize = 4 << 30;

/// Stands before llama.cpp's bytes.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    tokens: u64,
    kv_bytes_per_token: u64,
    adapters: Vec<(u32, f32)>,
    length: u64,
    checksum: u64,
}

/// Pieces that have come so far.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    pieces: HashMap<String, StatePiece>,
}

impl Scheduler {
    /// Sends the state of the first `count` tokens of a live answer's prompt.
    pub(super) fn save(&mut self, index: usize, key: &str, count: usize) {
        let Self { live, parts, .. } = self;
        let Some(answer) = live.get(index) else { return };
        let Some(sequence) = &answer.sequence else { return };
        let Some(head) = parts.memory.head(&mut parts.context, sequence, count) else { return };
        let state = parts.context.save(head.id);
        parts.memory.release(&mut parts.context, head);
        let Some(state) = state.filter(|_| count > 0) else { return };
        let head = Head {
            version: VERSION,
            tokens: count as u64,
            kv_bytes_per_token: parts.kv_bytes_per_token,
            adapters: answer.wishes.kinship.adapters.clone(),
            length: state.len() as u64,
            checksum: checksum(&state),
        };
        let Ok(mut bytes) = postcard::to_stdvec(&head) else { return };
        bytes.extend_from_slice(&state);
        let mut tokens: Vec<u32> =
            answer.tokens.iter().take(count).filter_map(|token| u32::try_from(*token).ok()).collect();
        let last = bytes.len().div_ceil(STATE_PIECE);
        for (number, piece) in bytes.chunks(STATE_PIECE).enumerate() {
            parts.outbox.send(&FromChild::Saved(StatePiece {
                key: key.to_owned(),
                scope: answer.wishes.kinship.scope,
                tokens: std::mem::take(&mut tokens),
                bytes: piece.to_vec(),
                last: number + 1 == last,
            }));
        }
    }

    /// Takes a piece of a saved state.
    pub(super) fn restore(&mut self, mut piece: StatePiece) {
        let key = piece.key.clone();
        let held: usize = self.restoring.pieces.values().map(|piece| piece.bytes.len()).sum();
        if held + piece.bytes.len() > MAX_RESTORING {
            self.restoring.pieces.remove(&key);
            let error = Some("too much is being restored at once".to_owned());
            return self.send(&FromChild::Restored { key, error });
        }
        if let Some(mut earlier) = self.restoring.pieces.remove(&key) {
            earlier.bytes.append(&mut piece.bytes);
            earlier.last = piece.last;
            piece = earlier;
        }
        if piece.last {
            let error = self.take_state(&piece).err();
            self.send(&FromChild::Restored { key, error });
        } else {
            self.restoring.pieces.insert(key, piece);
        }
    }

    fn take_state(&mut self, piece: &StatePiece) -> Result<(), String> {
        let parts = &mut self.parts;
        let (head, state) = read_head(&piece.bytes)?;
        if head.kv_bytes_per_token != parts.kv_bytes_per_token || head.tokens != piece.tokens.len() as u64 {
            return Err("the saved state belongs to another model or other settings".to_owned());
        }
        let known = |token: &u32| TokenId::try_from(*token).ok().filter(|token| parts.model.is_token(*token));
        let tokens: Option<Vec<TokenId>> = piece.tokens.iter().map(known).collect();
        let Some(tokens) =
            tokens.filter(|tokens| !tokens.is_empty() && tokens.len() < parts.memory.capacity())
        else {
            return Err("the saved tokens do not fit this model".to_owned());
        };
        let kinship = Rc::new(Kinship { scope: piece.scope, adapters: head.adapters });
        let Some(sequence) = parts.memory.reserve(&mut parts.context, tokens.len()) else {
            return Err("there is no room for the saved state now".to_owned());
        };
        let read = parts.context.restore(sequence.id, state);
        let whole = parts.context.end(sequence.id) == tokens.len();
        if !read || !whole {
            parts.memory.release(&mut parts.context, sequence);
            return Err("llama.cpp refuses the saved state".to_owned());
        }
        parts.memory.retain(&mut parts.context, sequence, &tokens, &kinship);
        Ok(())
    }
}

fn read_head(bytes: &[u8]) -> Result<(Head, &[u8]), String> {
    let (head, state) =
        postcard::take_from_bytes::<Head>(bytes).map_err(|_| "the saved state is broken".to_owned())?;
    if head.version != VERSION {
        return Err("the saved state was made by another version".to_owned());
    }
    if head.length != state.len() as u64 || head.checksum != checksum(state) {
        return Err("the saved state is broken".to_owned());
    }
    Ok((head, state))
}

/// FNV-1a over words of eight bytes: finds what a disk or a cut does to the bytes, not what an adversary does.
fn checksum(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3);
        hash ^= hash >> 29;
    }
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn saved(state: &[u8]) -> Vec<u8> {
        let head = Head {
            version: VERSION,
            tokens: 3,
            kv_bytes_per_token: 9,
            adapters: vec![(0, 0.5)],
            length: state.len() as u64,
            checksum: checksum(state),
        };
        let mut bytes = postcard::to_stdvec(&head).unwrap();
        bytes.extend_from_slice(state);
        bytes
    }

    proptest! {
        /// A saved state is read back as it was; with any byte changed, or cut anywhere, it is refused.
        #[test]
        fn damage_is_noticed(state in proptest::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, flip in 1u8..=255) {
            let bytes = saved(&state);
            prop_assert_eq!(read_head(&bytes).unwrap().1, state.as_slice());
            let start = bytes.len() - state.len();
            let mut bad = bytes.clone();
            bad[start + at.index(state.len())] ^= flip;
            prop_assert!(read_head(&bad).is_err());
            prop_assert!(read_head(&bytes[..at.index(bytes.len())]).is_err());
        }
    }
}

//! What a reader of a log has in front of it.

use std::ops::Range;

use inshore_domain::{BlockKind, Revision};

/// The blocks of an answer as the entries so far have made them.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) blocks: Vec<(BlockKind, String)>,
}

impl Page {
    /// Does what the entry says.
    pub(crate) fn take(&mut self, revision: &Revision) {
        match revision {
            Revision::Opened { kind, .. } => self.blocks.push((kind.clone(), String::new())),
            Revision::Appended { block, text } => {
                if let Some((_, shown)) = self.blocks.get_mut(*block as usize) {
                    shown.push_str(text);
                }
            }
            Revision::Replaced { block, span, text } => {
                if let Some((_, shown)) = self.blocks.get_mut(*block as usize) {
                    replace(shown, span, text);
                }
            }
            Revision::Begun { .. } | Revision::Finalised { .. } => {}
        }
    }

    /// The text of the answer.
    pub(crate) fn text(&self) -> &str {
        let text = self.blocks.iter().find(|(kind, _)| *kind == BlockKind::Text);
        text.map_or("", |(_, text)| text)
    }
}

/// Replaces a span of characters.
pub(crate) fn replace(text: &mut String, span: &Range<usize>, new: &str) {
    let byte = |place: usize| text.char_indices().map(|(byte, _)| byte).chain([text.len()]).nth(place);
    if let (Some(from), Some(to)) = (byte(span.start), byte(span.end))
        && from <= to
    {
        text.replace_range(from..to, new);
    }
}

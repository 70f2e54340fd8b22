//! Texts to vectors.

use super::Scheduler;
use crate::child::llama::{Pooling, TokenId};
use crate::child::prompt;
use crate::frames::{Embed, FromChild, WorkError};

impl Scheduler {
    /// Computes the vectors of one request, as many of its texts at once as fit into a step.
    pub(super) fn embed(&mut self, embed: &Embed) {
        let frame = match self.vectors(embed) {
            Ok((vectors, tokens)) => FromChild::Embedded { id: embed.id, vectors, tokens },
            Err(error) => FromChild::Failed { id: embed.id, error },
        };
        self.send(&frame);
    }

    fn vectors(&mut self, embed: &Embed) -> Result<(Vec<Vec<f32>>, u32), WorkError> {
        if !self.parts.embeddings {
            return Err(WorkError::Unsupported {
                message: "the model is loaded for text, not for embeddings".into(),
            });
        }
        if self.parts.context.pooling() == Pooling::Rank {
            return Err(WorkError::Unsupported {
                message: "the model ranks texts and makes no vectors of them".into(),
            });
        }
        // A text's vectors are pooled within what is computed at once.
        let limit = self.parts.context.batch_limit().min(self.parts.context.micro_batch());
        let mut texts = Vec::with_capacity(embed.inputs.len());
        for input in &embed.inputs {
            let tokens = prompt::tokens(&*self.parts.model, input)?.all;
            if tokens.len() > limit {
                return Err(WorkError::PromptTooLong {
                    prompt: u32::try_from(tokens.len()).unwrap_or(u32::MAX),
                    context: u32::try_from(limit).unwrap_or(u32::MAX),
                });
            }
            texts.push(tokens);
        }
        let total = texts.iter().map(Vec::len).sum::<usize>();
        let mut vectors = Vec::with_capacity(texts.len());
        let mut rest = texts.as_slice();
        while !rest.is_empty() {
            let mut size = 0;
            let fits = |tokens: &&Vec<TokenId>| {
                size += tokens.len();
                size <= limit
            };
            let count = rest.iter().take(self.parts.sequences).take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            self.vectors_of(now, &mut vectors)?;
            rest = later;
        }
        Ok((vectors, u32::try_from(total).unwrap_or(u32::MAX)))
    }

    fn vectors_of(&mut self, texts: &[Vec<TokenId>], vectors: &mut Vec<Vec<f32>>) -> Result<(), WorkError> {
        let failed = |message: &str| WorkError::Internal { message: message.to_owned() };
        let context = &mut self.parts.context;
        context.clear();
        self.batch.clear();
        for (sequence, tokens) in (0..).zip(texts) {
            for (position, token) in tokens.iter().enumerate() {
                self.batch.push(sequence, position, *token, true);
            }
        }
        self.parts.interest.begin(std::iter::empty());
        self.stats.steps += 1;
        self.stats.prompt_computed += self.batch.len() as u64;
        let encoder = self.parts.model.has_encoder();
        let outcome = if encoder { context.encode(&mut self.batch) } else { context.decode(&mut self.batch) };
        outcome.map_err(|_| failed("llama.cpp failed to compute the vectors"))?;
        for (sequence, _) in (0..).zip(texts) {
            let vector = context.embedding(sequence).ok_or_else(|| failed("llama.cpp gives no vector"))?;
            vectors.push(normalised(vector));
        }
        Ok(())
    }
}

/// The vector at length 1; one that has no length, or no numbers, becomes zero.
fn normalised(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if !length.is_finite() || length == 0.0 {
        return vec![0.0; vector.len()];
    }
    #[expect(clippy::cast_possible_truncation, reason = "single precision is what is sent")]
    let scaled = vector.iter().map(|x| (f64::from(*x) / length) as f32).collect();
    scaled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one() {
        assert_eq!(normalised(&[3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(normalised(&[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(normalised(&[f32::NAN, 1.0]), [0.0, 0.0]);
    }
}

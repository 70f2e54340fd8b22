//! Vectors as the domain wants them.

use std::fmt;

use inshore_domain::BackendError;
use inshore_domain::request::Embedding;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::refusal::Refuser;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) inputs: usize,
    dimensions: Option<u32>,
}

impl Asked {
    pub(crate) fn of(task: &Embedding) -> Self {
        Self { inputs: task.inputs.len(), dimensions: task.dimensions }
    }

    /// The vectors with length 1; an error when they are not what was asked for: vectors that cannot be compared would spoil
    /// an index in silence.
    pub(crate) fn check(self, vectors: Vec<Vec<f32>>, by: &Refuser) -> Result<Vec<Vec<f32>>, BackendError> {
        if vectors.len() != self.inputs {
            return Err(by.broken(format_args!("{} vectors for {} inputs", vectors.len(), self.inputs)));
        }
        let length = vectors.first().map_or(0, Vec::len);
        if self.inputs > 0 && length == 0 {
            return Err(by.broken("vectors without numbers"));
        }
        if vectors.iter().any(|vector| vector.len() != length) {
            return Err(by.broken("vectors of several lengths"));
        }
        if let Some(asked) = self.dimensions.filter(|asked| self.inputs > 0 && *asked as usize != length) {
            return Err(
                by.broken(format_args!("vectors of {length} dimensions where {asked} were asked for"))
            );
        }
        if vectors.iter().flatten().any(|number| !number.is_finite()) {
            return Err(by.broken("a vector with a number that is too large"));
        }
        Ok(vectors.into_iter().map(normalised).collect())
    }
}

/// Reads a vector. Each number as a wide one first: whether one that is too large for a narrow one is infinity or an error depends on how
/// the JSON library was built, and [`Asked::check`] is to say which vector it is.
pub(crate) fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    struct Numbers;
    impl<'de> Visitor<'de> for Numbers {
        type Value = Vec<f32>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of numbers")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut numbers = Vec::new();
            while let Some(number) = list.next_element::<f64>()? {
                numbers.push(number as f32);
            }
            Ok(numbers)
        }
    }
    deserializer.deserialize_seq(Numbers)
}

fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    // A vector of zeros has no direction and stays as it is; one of length 1 already is not touched by rounding.
    if length > 0.0 && (length - 1.0).abs() > 1e-6 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    vector
}

//! How fast targets were, on the wire.

use std::time::Duration;

use inshore_domain::time::micros;
use inshore_runtime::{Measured, Pace, Quantiles};
use serde::Serialize;

/// All answers of a target, and those of each feature.
#[derive(Serialize)]
pub(super) struct WirePaces {
    #[serde(flatten)]
    all: WirePace,
    features: Vec<WireFeature>,
}

#[derive(Serialize)]
struct WireFeature {
    feature: String,
    #[serde(flatten)]
    pace: WirePace,
}

#[derive(Serialize)]
struct WirePace {
    answers: usize,
    first_token_us: Option<WireQuantiles<u64>>,
    total_us: Option<WireQuantiles<u64>>,
    /// With one digit behind the point.
    tokens_per_second: Option<WireQuantiles<f64>>,
}

#[derive(Serialize)]
struct WireQuantiles<T> {
    p50: T,
    /// Nine of ten answers were at least as fast.
    p90: T,
}

impl WirePaces {
    pub(super) fn new(measured: &Measured) -> Self {
        let feature =
            |(name, pace): &(String, Pace)| WireFeature { feature: name.clone(), pace: WirePace::new(pace) };
        Self { all: WirePace::new(&measured.all), features: measured.features.iter().map(feature).collect() }
    }
}

impl WirePace {
    fn new(pace: &Pace) -> Self {
        let time = |Quantiles { p50, p90 }: Quantiles<Duration>| WireQuantiles {
            p50: micros(p50),
            p90: micros(p90),
        };
        let speed = |Quantiles { p50, p90 }: Quantiles<f64>| {
            let rounded = |speed: f64| (speed * 10.0).round() / 10.0;
            WireQuantiles { p50: rounded(p50), p90: rounded(p90) }
        };
        Self {
            answers: pace.answers,
            first_token_us: pace.first_token.map(time),
            total_us: pace.total.map(time),
            tokens_per_second: pace.tokens_per_second.map(speed),
        }
    }
}

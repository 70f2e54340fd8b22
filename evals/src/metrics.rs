//! The metrics of RouteLLM (Ong and others, arXiv:2406.18665, section 3): how much of the gap in quality between two targets is recovered
//! for which share of calls to the cloud.

/// A request as the metrics see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    /// Higher goes to the cloud first.
    pub(crate) score: f64,
    pub(crate) device_right: bool,
    pub(crate) cloud_right: bool,
}

/// The share of right answers for each share of calls to the cloud.
#[derive(Debug)]
pub(crate) struct Curve {
    /// Share of calls, and share of right answers; straight lines between. Requests with the same score go together, in an order that
    /// means nothing, so that what is between is their mean.
    points: Vec<(f64, f64)>,
    /// Share of calls, and share of all requests that are kept and would have been right in the cloud alone.
    errors: Vec<(f64, f64)>,
    device: f64,
    cloud: f64,
}

impl Curve {
    pub(crate) fn of(points: &[Point]) -> Self {
        let mut sorted = points.to_vec();
        sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
        let all = sorted.len().max(1) as f64;
        let right = |of: fn(&Point) -> bool| sorted.iter().filter(|point| of(point)).count() as f64 / all;
        let (device, cloud) = (right(|point| point.device_right), right(|point| point.cloud_right));
        let mut curve = vec![(0.0, device)];
        let error = |point: &Point| f64::from(u8::from(point.cloud_right && !point.device_right));
        let mut left: f64 = sorted.iter().map(error).sum();
        let mut errors = vec![(0.0, left / all)];
        let (mut sent, mut gained) = (0.0, 0.0);
        for tied in sorted.chunk_by(|a, b| a.score.total_cmp(&b.score).is_eq()) {
            for point in tied {
                sent += 1.0;
                gained += f64::from(u8::from(point.cloud_right)) - f64::from(u8::from(point.device_right));
            }
            left -= tied.iter().map(error).sum::<f64>();
            curve.push((sent / all, device + gained / all));
            errors.push((sent / all, left / all));
        }
        Self { points: curve, errors, device, cloud }
    }

    pub(crate) fn device(&self) -> f64 {
        self.device
    }

    pub(crate) fn cloud(&self) -> f64 {
        self.cloud
    }

    /// Average performance gap recovered: the area under the share of the gap that is recovered. 0.5 is what chance gives; more than 1
    /// is possible, since the device is sometimes right where the cloud is not. `None` without a gap.
    pub(crate) fn apgr(&self) -> Option<f64> {
        let gap = self.gap()?;
        let pieces = self.points.windows(2).filter_map(|pair| match pair {
            [(x, y), (next_x, next_y)] => Some((next_x - x) * (f64::midpoint(*y, *next_y) - self.device)),
            _ => None,
        });
        Some(pieces.sum::<f64>() / gap)
    }

    /// Call-performance threshold: the least share of calls that recovers this share of the gap.
    pub(crate) fn cpt(&self, recovered: f64) -> Option<f64> {
        let wanted = self.device + recovered * self.gap()?;
        self.first(wanted)
    }

    /// The largest share kept on the device at which quality is within so much of the cloud's.
    pub(crate) fn kept_within(&self, loss: f64) -> f64 {
        1.0 - self.first(self.cloud - loss).unwrap_or(1.0)
    }

    /// The largest share kept on the device of which at most this share are errors.
    pub(crate) fn kept_at(&self, risk: f64) -> f64 {
        let fits = |&&(sent, left): &&(f64, f64)| left <= risk * (1.0 - sent) + 1e-12;
        self.errors.iter().find(fits).map_or(0.0, |(sent, _)| 1.0 - sent)
    }

    fn first(&self, wanted: f64) -> Option<f64> {
        if self.device >= wanted {
            return Some(0.0);
        }
        self.points.windows(2).find_map(|pair| match pair {
            [(x, y), (next_x, next_y)] if *next_y >= wanted => {
                Some(x + (next_x - x) * (wanted - y) / (next_y - y))
            }
            _ => None,
        })
    }

    fn gap(&self) -> Option<f64> {
        Some(self.cloud - self.device).filter(|gap| *gap > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(rows: &[(f64, bool, bool)]) -> Vec<Point> {
        rows.iter()
            .map(|&(score, device_right, cloud_right)| Point { score, device_right, cloud_right })
            .collect()
    }

    #[track_caller]
    fn near(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-12), "{found:?} and not {expected}");
    }

    #[test]
    fn scores_that_are_all_the_same_are_chance() {
        let curve = Curve::of(&points(&[
            (1.0, false, true),
            (1.0, true, true),
            (1.0, false, false),
            (1.0, true, true),
        ]));
        near(curve.apgr(), 0.5);
        near(curve.cpt(0.5), 0.5);
        near(curve.cpt(0.8), 0.8);
    }

    #[test]
    fn the_best_order_recovers_all_at_once_and_more() {
        // One gain, one loss, two of no matter: the area is 1/4 * (1/2 + 1 + 1 + 1/2) of a gap of nothing, so there is a second gain.
        let rows = [(3.0, false, true), (3.0, false, true), (2.0, true, true), (1.0, true, false)];
        let curve = Curve::of(&points(&rows));
        near(Some(curve.device()), 0.5);
        near(Some(curve.cloud()), 0.75);
        near(curve.cpt(0.5), 0.125);
        // Gap of 1/4: recovered 0, 1, 2, 2, 1 at quarters.
        near(curve.apgr(), (0.5 + 1.5 + 2.0 + 1.5) / 4.0);
        near(Some(curve.kept_within(0.0)), 0.75);
        near(Some(curve.kept_within(0.25)), 1.0);
        near(Some(curve.kept_at(0.02)), 0.5);
        near(Some(curve.kept_at(0.5)), 1.0);
    }

    #[test]
    fn without_a_gap_there_is_nothing_to_recover() {
        let curve = Curve::of(&points(&[(1.0, true, true)]));
        assert_eq!((curve.apgr(), curve.cpt(0.5)), (None, None));
        assert!((curve.kept_within(0.0) - 1.0).abs() < 1e-12);
    }
}

//! Random orders against a model that is a few maps: what is granted and refused, what is left, and what the books say, also
//! after a crash at any step.

use std::collections::BTreeMap;
use std::path::Path;

use inshore_domain::{Amounts, Claim, Closing, Measure, OverCap, Principal, ReceiptId, Reservation, Window};
use inshore_store::{CloseError, Dispute, ReserveError, SpendBy, SpendQuery, Store};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::runtime::Runtime;

use crate::sample::{DAY, HOUR, MONTH, at, close, id, open, receipt};

/// The clock goes forth and back across the end of a month.
const TIMES: [u64; 6] = [MONTH - 2 * HOUR, MONTH - 1, MONTH, MONTH + HOUR, 5, 3 * MONTH];
const USERS: [&str; 3] = ["ann", "bob", ""];

/// The caps that cover a call of a user at a time; `which` leaves some out.
fn claims(user: &str, time: u64, which: u8) -> Vec<Claim> {
    let claim = |cap: &str, subject: &str, measure, window, limit| {
        let length = match window {
            Window::Request => 0,
            Window::Hour => HOUR,
            Window::Day => DAY,
            Window::Month => MONTH,
        };
        let since = time.checked_div(length).map_or(time, |windows| windows * length);
        Claim {
            cap: cap.into(),
            subject: subject.into(),
            measure,
            window,
            since: at(since),
            renews: (length > 0).then(|| at(since + length)),
            limit,
            warn_at: Some(limit / 2),
        }
    };
    let all = [
        claim("monthly", "", Measure::Money, Window::Month, 10_000),
        claim("daily", user, Measure::Money, Window::Day, 3_000),
        claim("hourly", "", Measure::Tokens, Window::Hour, 4_000),
        claim("calls", user, Measure::Calls, Window::Day, 7),
        claim("bytes", "", Measure::BytesOut, Window::Month, u64::MAX),
        claim("request", "", Measure::Money, Window::Request, 1_500),
    ];
    let chosen = all.into_iter().enumerate().filter(|(place, _)| which & (1 << place) != 0);
    chosen.map(|(_, claim)| claim).collect()
}

#[derive(Debug, Clone)]
enum Step {
    /// For a request that is under way, or a new one.
    Reserve {
        request: Option<Index>,
        user: &'static str,
        time: u64,
        amounts: Amounts,
        which: u8,
    },
    /// All that is open of a request, in these ways.
    Settle {
        request: Index,
        closings: Vec<Closing>,
    },
    Close {
        reservation: Index,
        closing: Closing,
    },
    Expire {
        before: u64,
    },
    /// The process dies, as seen by a copy of its files.
    Crash,
    Reopen,
    Check,
}

fn amounts() -> impl Strategy<Value = Amounts> {
    let most = prop_oneof![8 => 0..1_200u64, 1 => Just(u64::MAX), 1 => Just(1 << 47)];
    (0..1_200u64, 0..1_200u64, 0..3u64, most).prop_map(|(money, tokens, calls, bytes_out)| Amounts {
        money,
        tokens,
        calls,
        bytes_out,
    })
}

fn closing() -> impl Strategy<Value = Closing> {
    prop_oneof![amounts().prop_map(Closing::Settled), Just(Closing::Released), Just(Closing::InDoubt)]
}

fn step() -> impl Strategy<Value = Step> {
    let request = prop::option::of(any::<Index>());
    let reserve = (request, select(&USERS[..]), select(&TIMES[..]), amounts(), any::<u8>());
    prop_oneof![
        10 => reserve.prop_map(|(request, user, time, amounts, which)| {
            Step::Reserve { request, user, time, amounts, which }
        }),
        5 => (any::<Index>(), vec(closing(), 1..4))
            .prop_map(|(request, closings)| Step::Settle { request, closings }),
        4 => (any::<Index>(), closing()).prop_map(|(reservation, closing)| Step::Close { reservation, closing }),
        1 => select(&TIMES[..]).prop_map(|before| Step::Expire { before }),
        1 => Just(Step::Crash),
        1 => Just(Step::Reopen),
        2 => Just(Step::Check),
    ]
}

/// Settled, reserved and in doubt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Used {
    settled: u64,
    reserved: u64,
    in_doubt: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    InDoubt,
    Closed(Amounts),
}

#[derive(Debug, Clone)]
struct Call {
    reservation: Reservation,
    state: State,
    /// Its request has a receipt.
    ended: bool,
}

/// Every reservation that was ever granted. What is used of a cap is counted from them each time.
#[derive(Debug, Clone, Default)]
struct Model {
    calls: Vec<Call>,
    requests: u128,
}

impl Model {
    fn used(&self, claim: &Claim, receipt: ReceiptId) -> Used {
        let mut used = Used::default();
        for call in &self.calls {
            let request = claim.window == Window::Request;
            let counts = call.reservation.claims.iter().any(|other| {
                (&other.cap, &other.subject) == (&claim.cap, &claim.subject)
                    && if request { call.reservation.receipt == receipt } else { other.since == claim.since }
            });
            if !counts || request && call.ended {
                continue;
            }
            let held = call.reservation.amounts.of(claim.measure);
            match call.state {
                State::Open => used.reserved += held,
                State::InDoubt => used.in_doubt += held,
                State::Closed(amounts) => used.settled += amounts.of(claim.measure),
            }
        }
        used
    }

    fn reserve(&mut self, reservation: &Reservation) -> Result<Vec<(u64, bool)>, ReserveError> {
        let mut uses = Vec::new();
        for claim in &reservation.claims {
            let used = self.used(claim, reservation.receipt);
            let wanted = reservation.amounts.of(claim.measure);
            let held = used.reserved + used.in_doubt;
            let (before, after) = (used.settled + held, (used.settled + held).saturating_add(wanted));
            if wanted > 0 && after > claim.limit.min(i64::MAX as u64) {
                let over = OverCap { claim: claim.clone(), settled: used.settled, reserved: held, wanted };
                return Err(ReserveError::OverCap(Box::new(over)));
            }
            let mark = claim.warn_at.unwrap();
            uses.push((after, before < mark && after >= mark));
        }
        if reservation.amounts.bytes_out > 1 << 48 {
            let wanted = reservation.amounts.bytes_out;
            return Err(ReserveError::TooMuch { measure: Measure::BytesOut, wanted });
        }
        self.calls.push(Call { reservation: reservation.clone(), state: State::Open, ended: false });
        Ok(uses)
    }

    /// The disputes, or nothing where there is nothing to close.
    fn close(&mut self, place: usize, closing: Closing) -> Option<Vec<Dispute>> {
        let call = &mut self.calls[place];
        if matches!(call.state, State::Closed(_)) {
            return None;
        }
        let mut disputes = Vec::new();
        call.state = match closing {
            Closing::InDoubt => State::InDoubt,
            Closing::Released => State::Closed(Amounts::default()),
            Closing::Settled(asked) => {
                let worst = call.reservation.amounts;
                for measure in Measure::ALL {
                    let (reserved, asked) = (worst.of(measure), asked.of(measure));
                    if asked > reserved {
                        let reservation = call.reservation.id;
                        disputes.push(Dispute::Beyond { reservation, measure, reserved, asked });
                    }
                }
                State::Closed(Amounts {
                    money: asked.money.min(worst.money),
                    tokens: asked.tokens.min(worst.tokens),
                    calls: asked.calls.min(worst.calls),
                    bytes_out: asked.bytes_out.min(worst.bytes_out),
                })
            }
        };
        Some(disputes)
    }

    fn expire(&mut self, before: u64) -> (u64, u64) {
        let (mut count, mut sum) = (0, 0);
        for call in &mut self.calls {
            if call.state == State::InDoubt && call.reservation.at < at(before) {
                call.state = State::Closed(call.reservation.amounts);
                (count, sum) = (count + 1, sum + call.reservation.amounts.money);
            }
        }
        (count, sum)
    }

    /// What was open is in doubt, and every request is over.
    fn die(&mut self) {
        for call in &mut self.calls {
            if call.state == State::Open {
                call.state = State::InDoubt;
            }
            call.ended = true;
        }
    }

    /// Money settled, reserved and in doubt.
    fn money(&self) -> Used {
        let mut used = Used::default();
        for call in &self.calls {
            let held = call.reservation.amounts.money;
            match call.state {
                State::Open => used.reserved += held,
                State::InDoubt => used.in_doubt += held,
                State::Closed(amounts) => used.settled += amounts.money,
            }
        }
        used
    }
}

/// Everything that can be seen of a store is as the model has it.
async fn check(store: &Store, model: &Model) {
    let balances = store.books().await.unwrap();
    let balance = balances.first().map_or(Used::default(), |balance| Used {
        settled: balance.spent.micros as u64,
        reserved: balance.reserved.micros as u64,
        in_doubt: balance.in_doubt.micros as u64,
    });
    assert_eq!(balance, model.money());
    let mut doubts: Vec<_> = model.calls.iter().filter(|call| call.state == State::InDoubt).collect();
    doubts.sort_by_key(|call| (call.reservation.at, call.reservation.id));
    let listed = store.in_doubt(10_000).await.unwrap();
    assert_eq!(
        listed.iter().map(|doubt| (doubt.id, doubt.amounts, doubt.receipt)).collect::<Vec<_>>(),
        doubts
            .iter()
            .map(|call| (call.reservation.id, call.reservation.amounts, call.reservation.receipt))
            .collect::<Vec<_>>()
    );
    let mut days: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for call in &model.calls {
        let day = days.entry(call.reservation.at.unix_millis() / DAY).or_default();
        match call.state {
            State::Open => {}
            State::InDoubt => day.1 += call.reservation.amounts.money,
            State::Closed(amounts) => day.0 += amounts.money,
        }
    }
    days.retain(|_, sums| *sums != (0, 0));
    let query = SpendQuery { from: at(0), to: at(10 * MONTH), by: SpendBy::Day };
    let rows = store.spend(query).await.unwrap();
    let rows = rows.iter().filter(|row| row.settled.micros != 0 || row.in_doubt.micros != 0);
    let found: Vec<_> = rows.map(|row| (row.settled.micros as u64, row.in_doubt.micros as u64)).collect();
    assert_eq!(found, days.into_values().collect::<Vec<_>>());
}

/// What callers see without asking is as the model has it, and within the limits. Of windows that were over at `latest`, and
/// were not asked for since, nothing may be known.
fn check_headroom(store: &Store, model: &Model, asked: &[Claim], now: u64, latest: u64) {
    for user in USERS {
        let claims = claims(user, now, 0b1_1111);
        for (claim, left) in claims.iter().zip(store.headroom(&claims)) {
            let used = model.used(claim, ReceiptId::from_bits(0));
            let all = used.settled + used.reserved + used.in_doubt;
            assert!(all <= claim.limit, "{claim:?}: {used:?}");
            let let_go = claim.renews <= Some(at(latest)) && !asked.contains(claim);
            assert!(
                left == claim.limit - all || let_go && left == claim.limit,
                "{claim:?}: {used:?}, {left}"
            );
        }
    }
}

struct World {
    folder: tempfile::TempDir,
    store: Store,
    model: Model,
    now: u64,
    latest: u64,
}

impl World {
    fn request(&self, which: &Index) -> Option<ReceiptId> {
        let live: Vec<_> = self.model.calls.iter().filter(|call| !call.ended).collect();
        (!live.is_empty()).then(|| which.get(&live).reservation.receipt)
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Reserve { request, user, time, amounts, which } => {
                let known = request.and_then(|which| self.request(&which));
                let receipt = known.unwrap_or_else(|| {
                    self.model.requests += 1;
                    ReceiptId::from_bits(self.model.requests)
                });
                self.reserve(receipt, user, time, amounts, which).await;
            }
            Step::Settle { request, closings } => {
                let receipt = self.request(&request).unwrap_or_else(|| {
                    self.model.requests += 1;
                    ReceiptId::from_bits(self.model.requests)
                });
                self.settle(receipt, &closings).await;
            }
            Step::Close { reservation, closing } => {
                if self.model.calls.is_empty() {
                    let closed = self.store.close_reservation(id(0), closing, at(0)).await;
                    assert_eq!(closed, Err(CloseError::Unknown { id: id(0) }));
                    return;
                }
                let place = reservation.index(self.model.calls.len());
                let id = self.model.calls[place].reservation.id;
                let expected = self.model.close(place, closing).ok_or(CloseError::Unknown { id });
                let closed = self.store.close_reservation(id, closing, at(self.now)).await;
                assert_eq!(closed.map(|settled| settled.disputes), expected);
            }
            Step::Expire { before } => {
                let expired = self.store.expire_in_doubt(at(before), at(self.now)).await.unwrap();
                assert_eq!((expired.count, expired.amounts.money), self.model.expire(before));
            }
            Step::Crash => self.crash().await,
            Step::Reopen => {
                close(&self.store).await;
                self.store = open(self.folder.path()).unwrap();
                self.model.die();
            }
            Step::Check => check(&self.store, &self.model).await,
        }
    }

    async fn reserve(&mut self, receipt: ReceiptId, user: &str, time: u64, amounts: Amounts, which: u8) {
        let reservation = Reservation {
            id: id(1 << 64 | self.model.calls.len() as u128),
            receipt,
            target: inshore_domain::TargetId("cloud".into()),
            at: at(time),
            amounts,
            claims: claims(user, time, which),
        };
        let expected = self.model.reserve(&reservation);
        let reserved = self.store.reserve(reservation.clone(), &Principal::default(), Some("chat")).await;
        let uses = reserved.map(|reserved| {
            reserved.uses.into_iter().map(|used| (used.used, used.crossed)).collect::<Vec<_>>()
        });
        assert_eq!(uses, expected);
        if uses.is_ok() {
            self.now = time;
            self.latest = self.latest.max(time);
            check_headroom(&self.store, &self.model, &reservation.claims, time, self.latest);
        }
    }

    async fn settle(&mut self, id: ReceiptId, closings: &[Closing]) {
        let calls = &self.model.calls;
        let places: Vec<usize> =
            (0..calls.len()).filter(|place| calls[*place].reservation.receipt == id).collect();
        let (mut orders, mut expected) = (Vec::new(), Vec::new());
        for (place, closing) in places.iter().zip(closings.iter().cycle()) {
            let reservation = self.model.calls[*place].reservation.id;
            orders.push((reservation, *closing));
            expected.extend(
                self.model.close(*place, *closing).unwrap_or_else(|| vec![Dispute::Unknown { reservation }]),
            );
            self.model.calls[*place].ended = true;
        }
        let settled = self.store.settle(receipt(id.to_bits()), orders).await.unwrap();
        assert_eq!(settled.disputes, expected);
    }

    /// Opens a copy of the files as they are now.
    async fn crash(&self) {
        let copy = tempfile::tempdir().unwrap();
        // The journal first: what comes to the tables meanwhile is in both.
        for file in ["inshore.db-redo-0", "inshore.db-redo-1", "inshore.db", "inshore.db-wal"] {
            std::fs::copy(self.folder.path().join(file), copy.path().join(file)).unwrap();
        }
        let mut model = self.model.clone();
        model.die();
        let store = open(copy.path()).unwrap();
        check(&store, &model).await;
        store.verify().await.unwrap();
        close(&store).await;
    }
}

fn run(runtime: &Runtime, folder: tempfile::TempDir, steps: Vec<Step>) {
    let path: &Path = folder.path();
    let store = open(path).unwrap();
    let mut world = World { folder, store, model: Model::default(), now: 0, latest: 0 };
    runtime.block_on(async {
        for step in steps {
            world.step(step).await;
        }
        check(&world.store, &world.model).await;
        world.crash().await;
        close(&world.store).await;
    });
}

#[test]
fn any_order_of_steps_keeps_caps_and_books() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    proptest!(ProptestConfig::with_cases(96), |(steps in vec(step(), 1..80))| {
        run(&runtime, tempfile::tempdir().unwrap(), steps);
    });
}

/// Long enough for the tables to be brought up to date in the midst of it, several times.
#[test]
fn many_steps_keep_caps_and_books() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    proptest!(ProptestConfig::with_cases(6), |(steps in vec(step(), 700..800))| {
        run(&runtime, tempfile::tempdir().unwrap(), steps);
    });
}

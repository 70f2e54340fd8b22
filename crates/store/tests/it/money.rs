//! Reservations, caps and what becomes of them, one rule at a time.

use inshore_domain::{Amounts, Claim, Closing, Measure, OverCap, Principal, ReceiptId, Reservation, Window};
use inshore_store::{CloseError, Dispute, Expired, ReserveError, Settled, Store, StoreError};

use crate::sample::{DAY, MONTH, at, claim, close, id, money, open, receipt, reservation};

async fn reserve(store: &Store, reservation: Reservation) -> Result<Vec<(u64, bool)>, ReserveError> {
    let reserved = store.reserve(reservation, &Principal::default(), None).await?;
    Ok(reserved.uses.into_iter().map(|used| (used.used, used.crossed)).collect())
}

/// What a cap has left, by its claim.
fn left(store: &Store, claim: &Claim) -> u64 {
    store.headroom(std::slice::from_ref(claim))[0]
}

fn over(claim: &Claim, settled: u64, reserved: u64, wanted: u64) -> ReserveError {
    ReserveError::OverCap(Box::new(OverCap { claim: claim.clone(), settled, reserved, wanted }))
}

#[tokio::test]
async fn a_reservation_is_replaced_by_what_was_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let (monthly, daily) = (claim("monthly", Window::Month, 1_000), claim("daily", Window::Day, 500));
    assert_eq!(store.headroom(&[monthly.clone(), daily.clone()]), [1_000, 500]);
    let both = vec![monthly.clone(), daily.clone()];
    assert_eq!(
        reserve(&store, reservation(1, 300, both.clone())).await,
        Ok(vec![(300, false), (300, false)])
    );
    assert_eq!(store.headroom(&both), [700, 200]);
    let settled = store.settle(receipt(1), vec![(id(1), Closing::Settled(money(120)))]).await;
    assert_eq!(settled, Ok(Settled::default()));
    assert_eq!(store.headroom(&both), [880, 380]);
    assert_eq!(reserve(&store, reservation(2, 381, both.clone())).await, Err(over(&daily, 120, 0, 381)));
    assert_eq!(store.headroom(&both), [880, 380], "nothing is reserved of the other either");
    assert_eq!(
        reserve(&store, reservation(2, 380, both.clone())).await,
        Ok(vec![(500, false), (500, false)])
    );
    store.close_reservation(id(2), Closing::Released, at(0)).await.unwrap();
    assert_eq!(store.headroom(&both), [880, 380]);
    let books = store.books().await.unwrap();
    assert_eq!((books[0].spent.micros, books[0].reserved.micros, books[0].in_doubt.micros), (120, 0, 0));
}

#[tokio::test]
async fn what_is_in_doubt_stays_set_aside_until_it_is_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = claim("monthly", Window::Month, 1_000);
    for number in 1..=3 {
        reserve(&store, reservation(number, 300, vec![cap.clone()])).await.unwrap();
        store.settle(receipt(number), vec![(id(number), Closing::InDoubt)]).await.unwrap();
    }
    assert_eq!(left(&store, &cap), 100);
    let doubts = store.in_doubt(10).await.unwrap();
    assert_eq!(doubts.iter().map(|doubt| doubt.id).collect::<Vec<_>>(), [id(1), id(2), id(3)]);
    let doubt = &doubts[0];
    assert_eq!((doubt.receipt, doubt.since), (ReceiptId::from_bits(1), at(1)));
    assert_eq!((doubt.target.0.as_str(), doubt.amounts), ("openai/gpt-5-mini", money(300)));
    assert_eq!(store.in_doubt(1).await.unwrap().len(), 1);

    // Reconciled: one was free, one cost a little, and the third is given up.
    store.close_reservation(id(2), Closing::Released, at(9)).await.unwrap();
    store.close_reservation(id(1), Closing::Settled(money(10)), at(9)).await.unwrap();
    assert_eq!(left(&store, &cap), 690);
    assert_eq!(store.expire_in_doubt(at(3), at(9)).await, Ok(Expired::default()), "not older than that");
    assert_eq!(store.expire_in_doubt(at(4), at(9)).await, Ok(Expired { count: 1, amounts: money(300) }));
    assert_eq!(left(&store, &cap), 690);
    let books = store.books().await.unwrap();
    assert_eq!((books[0].spent.micros, books[0].in_doubt.micros), (310, 0));
    store.verify().await.unwrap();
}

#[tokio::test]
async fn many_doubts_expire_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for number in 0..300 {
        reserve(&store, reservation(number, 2, Vec::new())).await.unwrap();
        store.close_reservation(id(number), Closing::InDoubt, at(0)).await.unwrap();
    }
    reserve(&store, reservation(300, 2, Vec::new())).await.unwrap();
    let expired = store.expire_in_doubt(at(1_000), at(1_000)).await.unwrap();
    assert_eq!((expired.count, expired.amounts), (300, money(600)), "and not the one that is open");
}

#[tokio::test]
async fn never_more_than_was_reserved_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = claim("monthly", Window::Month, 1_000);
    reserve(&store, reservation(1, 300, vec![cap.clone()])).await.unwrap();
    let used = Amounts { money: 301, tokens: u64::MAX, calls: 0, bytes_out: 0 };
    let settled = store.settle(receipt(1), vec![(id(1), Closing::Settled(used))]).await.unwrap();
    let beyond = |measure, reserved, asked| Dispute::Beyond { reservation: id(1), measure, reserved, asked };
    let tokens = beyond(Measure::Tokens, 0, u64::MAX);
    assert_eq!(settled.disputes, [beyond(Measure::Money, 300, 301), tokens]);
    assert_eq!(left(&store, &cap), 700);
    assert_eq!(store.books().await.unwrap()[0].spent.micros, 300);
}

#[tokio::test]
async fn closing_again_changes_nothing_and_keeps_nothing_from_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = claim("monthly", Window::Month, 1_000);
    for number in 1..=2 {
        reserve(&store, reservation(number, 300, vec![cap.clone()])).await.unwrap();
    }
    store.close_reservation(id(1), Closing::Settled(money(10)), at(0)).await.unwrap();
    let before = store.books().await.unwrap();
    let again = store.close_reservation(id(1), Closing::Settled(money(20)), at(0)).await;
    assert_eq!(again, Err(CloseError::Unknown { id: id(1) }));
    assert_eq!(store.books().await.unwrap(), before);

    // Closed, never made, and the same one twice: the receipt and the first closing of the second count.
    let closings = vec![
        (id(1), Closing::Released),
        (id(99), Closing::InDoubt),
        (id(2), Closing::Settled(money(20))),
        (id(2), Closing::Released),
    ];
    let settled = store.settle(receipt(1), closings).await.unwrap();
    let unknown = |number| Dispute::Unknown { reservation: id(number) };
    assert_eq!(settled.disputes, [unknown(1), unknown(99), unknown(2)]);
    assert_eq!(store.receipt(ReceiptId::from_bits(1)).await.unwrap(), Some(receipt(1)));
    assert_eq!(left(&store, &cap), 970);
    assert_eq!(store.books().await.unwrap()[0].spent.micros, 30);

    // In doubt again is in doubt.
    reserve(&store, reservation(3, 300, vec![cap.clone()])).await.unwrap();
    for _ in 0..2 {
        store.close_reservation(id(3), Closing::InDoubt, at(0)).await.unwrap();
    }
    assert_eq!(store.books().await.unwrap()[0].in_doubt.micros, 300);
}

#[tokio::test]
async fn a_receipt_that_is_there_already_closes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = claim("monthly", Window::Month, 1_000);
    store.settle(receipt(1), Vec::new()).await.unwrap();
    reserve(&store, reservation(2, 300, vec![cap.clone()])).await.unwrap();
    let refused = store.settle(receipt(1), vec![(id(2), Closing::Released)]).await;
    assert_eq!(refused, Err(StoreError::AlreadySettled { id: ReceiptId::from_bits(1) }));
    assert_eq!(left(&store, &cap), 700);
    store.close_reservation(id(2), Closing::Released, at(0)).await.unwrap();
    assert_eq!(left(&store, &cap), 1_000);
}

#[tokio::test]
async fn several_closings_of_one_settlement() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = claim("monthly", Window::Month, 1_000);
    for number in 1..=3 {
        reserve(&store, reservation(number, 100, vec![cap.clone()])).await.unwrap();
    }
    let closings =
        vec![(id(1), Closing::Released), (id(2), Closing::InDoubt), (id(3), Closing::Settled(money(40)))];
    store.settle(receipt(1), closings).await.unwrap();
    let books = store.books().await.unwrap();
    assert_eq!((books[0].spent.micros, books[0].reserved.micros, books[0].in_doubt.micros), (40, 0, 100));
    assert_eq!(left(&store, &cap), 860);
}

#[tokio::test]
async fn subjects_measures_and_windows_are_counted_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = claim("monthly", Window::Month, 100);
    let of = |subject: &str| Claim { subject: subject.into(), ..cap.clone() };
    let calls = Claim { measure: Measure::Calls, ..cap.clone() };
    let next = Claim { since: at(MONTH), renews: Some(at(2 * MONTH)), ..cap.clone() };
    let all = [of("ann"), of("bob"), of(""), calls.clone(), next];
    reserve(&store, reservation(1, 100, vec![of("ann"), calls])).await.unwrap();
    assert_eq!(store.headroom(&all), [0, 100, 100, 99, 100]);
    assert!(reserve(&store, reservation(2, 1, vec![of("ann")])).await.is_err());
    reserve(&store, reservation(2, 100, vec![of("bob")])).await.unwrap();
    assert_eq!(store.headroom(&all), [0, 0, 100, 99, 100]);
}

#[tokio::test]
async fn a_warning_is_due_when_its_mark_is_passed_and_not_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = Claim { warn_at: Some(80), ..claim("monthly", Window::Month, 100) };
    let mut uses = Vec::new();
    for (number, amount) in [(1, 79), (2, 1), (3, 1), (4, 0)] {
        uses.extend(reserve(&store, reservation(number, amount, vec![cap.clone()])).await.unwrap());
    }
    assert_eq!(uses, [(79, false), (80, true), (81, false), (81, false)]);
}

#[tokio::test]
async fn a_cap_of_one_request_counts_all_of_its_calls_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = Claim { renews: None, ..claim("request", Window::Request, 100) };
    let call = |number, of, amount| Reservation {
        receipt: ReceiptId::from_bits(of),
        ..reservation(number, amount, vec![cap.clone()])
    };
    assert_eq!(reserve(&store, call(1, 7, 60)).await, Ok(vec![(60, false)]));
    assert_eq!(reserve(&store, call(2, 7, 41)).await, Err(over(&cap, 0, 60, 41)));
    assert_eq!(reserve(&store, call(3, 8, 100)).await, Ok(vec![(100, false)]), "another request");
    // A retry, after the first try has cost a little and a hedge was called off.
    assert_eq!(reserve(&store, call(4, 7, 40)).await, Ok(vec![(100, false)]));
    store.close_reservation(id(4), Closing::Released, at(0)).await.unwrap();
    store.close_reservation(id(1), Closing::Settled(money(10)), at(0)).await.unwrap();
    assert_eq!(reserve(&store, call(5, 7, 91)).await, Err(over(&cap, 10, 0, 91)));
    assert_eq!(reserve(&store, call(5, 7, 90)).await, Ok(vec![(100, false)]));
    store.close_reservation(id(5), Closing::InDoubt, at(0)).await.unwrap();
    assert_eq!(reserve(&store, call(6, 7, 1)).await, Err(over(&cap, 10, 90, 1)));
    assert_eq!(left(&store, &cap), 100, "what a request has used is not seen from outside");
    // Once it has its receipt, it is over.
    store.settle(receipt(7), vec![(id(5), Closing::Settled(money(90)))]).await.unwrap();
    assert_eq!(reserve(&store, call(6, 7, 100)).await, Ok(vec![(100, false)]));
    store.verify().await.unwrap();
}

#[tokio::test]
async fn one_cap_claimed_twice_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = claim("monthly", Window::Month, 100);
    let request = Claim { renews: None, ..claim("request", Window::Request, 100) };
    let twice = vec![cap.clone(), cap.clone(), request.clone(), request];
    let uses = reserve(&store, reservation(1, 60, twice)).await.unwrap();
    assert_eq!(uses, [(60, false); 4]);
    assert_eq!(left(&store, &cap), 40);
}

#[tokio::test]
async fn nothing_fits_always_and_a_lowered_limit_takes_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = claim("monthly", Window::Month, 100);
    reserve(&store, reservation(1, 80, vec![cap])).await.unwrap();
    let lowered = claim("monthly", Window::Month, 50);
    assert_eq!(left(&store, &lowered), 0);
    assert_eq!(
        reserve(&store, reservation(2, 1, vec![lowered.clone()])).await,
        Err(over(&lowered, 0, 80, 1))
    );
    assert_eq!(reserve(&store, reservation(2, 0, vec![lowered])).await, Ok(vec![(80, false)]));
}

#[tokio::test]
async fn absurd_amounts_are_refused_and_absurd_limits_hold() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let endless = claim("endless", Window::Month, u64::MAX);
    let of = |number, amounts, claims| Reservation { amounts, ..reservation(number, 0, claims) };
    for measure in Measure::ALL {
        for amount in [u64::MAX, i64::MAX as u64, (1 << 48) + 1] {
            let mut amounts = Amounts::default();
            match measure {
                Measure::Money => amounts.money = amount,
                Measure::Tokens => amounts.tokens = amount,
                Measure::Calls => amounts.calls = amount,
                Measure::BytesOut => amounts.bytes_out = amount,
            }
            let refused = reserve(&store, of(1, amounts, Vec::new())).await;
            assert_eq!(refused, Err(ReserveError::TooMuch { measure, wanted: amount }));
        }
    }
    let most = Amounts { money: 1 << 48, tokens: 1 << 48, calls: 1 << 48, bytes_out: 1 << 48 };
    let all = vec![endless.clone(), Claim { measure: Measure::Tokens, ..endless.clone() }];
    for number in 1..=20 {
        reserve(&store, of(number, most, all.clone())).await.unwrap();
    }
    let huge = Amounts { money: u64::MAX, tokens: u64::MAX, calls: u64::MAX, bytes_out: u64::MAX };
    assert_eq!(reserve(&store, of(99, huge, all.clone())).await, Err(over(&endless, 0, 20 << 48, u64::MAX)));
    store.close_reservation(id(1), Closing::Settled(huge), at(u64::MAX)).await.unwrap();
    store.close_reservation(id(2), Closing::InDoubt, at(0)).await.unwrap();
    store.expire_in_doubt(at(u64::MAX), at(u64::MAX)).await.unwrap();
    assert_eq!(left(&store, &endless), u64::MAX - (20 << 48));
    assert_eq!(store.books().await.unwrap()[0].spent.micros, 2 << 48);
    let late = Claim { since: at(u64::MAX), renews: Some(at(u64::MAX)), ..endless };
    let last = Reservation { at: at(u64::MAX), ..reservation(100, 5, vec![late]) };
    reserve(&store, last).await.unwrap();
    store.verify().await.unwrap();
}

#[tokio::test]
async fn the_same_id_is_not_open_twice() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    reserve(&store, reservation(1, 5, Vec::new())).await.unwrap();
    let again = reserve(&store, reservation(1, 5, Vec::new())).await;
    assert_eq!(again, Err(ReserveError::Known { id: id(1) }));
    store.close_reservation(id(1), Closing::InDoubt, at(0)).await.unwrap();
    let again = reserve(&store, reservation(1, 5, Vec::new())).await;
    assert_eq!(again, Err(ReserveError::Known { id: id(1) }));
}

#[tokio::test]
async fn a_clock_that_is_set_back_across_the_end_of_a_month_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let in_month = |month: u64| Claim {
        since: at(month * MONTH),
        renews: Some(at((month + 1) * MONTH)),
        ..claim("monthly", Window::Month, 1_000)
    };
    let spend = async |number: u128, month: u64, amount: u64| {
        let reservation = Reservation {
            at: at(month * MONTH + 2 * DAY),
            ..reservation(number, amount, vec![in_month(month)])
        };
        reserve(&store, reservation).await?;
        let settled = store.close_reservation(id(number), Closing::Settled(money(amount)), at(0)).await;
        assert_eq!(settled, Ok(Settled::default()));
        Ok::<_, ReserveError>(())
    };
    spend(1, 0, 900).await.unwrap();
    // Enough of the next month for the old one to leave memory.
    for number in 10..200 {
        spend(number, 1, 5).await.unwrap();
    }
    assert_eq!(spend(2, 0, 101).await, Err(over(&in_month(0), 900, 0, 101)));
    spend(3, 0, 100).await.unwrap();
    assert_eq!(spend(4, 0, 1).await, Err(over(&in_month(0), 1_000, 0, 1)));
    spend(5, 1, 50).await.unwrap();
    assert_eq!(spend(6, 1, 1).await, Err(over(&in_month(1), 1_000, 0, 1)));
    close(&store).await;

    let store = open(folder.path()).unwrap();
    assert_eq!(left(&store, &in_month(1)), 0);
    let back = reserve(&store, reservation(7, 1, vec![in_month(0)])).await;
    assert_eq!(back, Err(over(&in_month(0), 1_000, 0, 1)));
    store.verify().await.unwrap();
}

#[tokio::test]
async fn what_a_dead_process_left_open_is_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = claim("monthly", Window::Month, 1_000);
    for number in 1..=3 {
        reserve(&store, reservation(number, 100, vec![cap.clone()])).await.unwrap();
    }
    store.close_reservation(id(2), Closing::Settled(money(30)), at(0)).await.unwrap();
    close(&store).await;
    assert_eq!(reserve(&store, reservation(9, 1, Vec::new())).await, Err(StoreError::Closed.into()));
    let closed = store.close_reservation(id(1), Closing::Released, at(0)).await;
    assert_eq!(closed, Err(StoreError::Closed.into()));

    for _ in 0..2 {
        let store = open(folder.path()).unwrap();
        let doubts = store.in_doubt(10).await.unwrap();
        assert_eq!(doubts.iter().map(|doubt| doubt.id).collect::<Vec<_>>(), [id(1), id(3)]);
        assert_eq!(left(&store, &cap), 770);
        store.verify().await.unwrap();
        close(&store).await;
    }
}

#[tokio::test]
async fn a_reservation_that_nobody_waits_for_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let cap = claim("monthly", Window::Month, 1_000);
    for number in 1..=100 {
        drop(store.reserve(reservation(number, 10, vec![cap.clone()]), &Principal::default(), None));
    }
    // What comes later finds room: each was released, if not in the meantime then before this one.
    store.settle(receipt(1), Vec::new()).await.unwrap();
    store.settle(receipt(2), Vec::new()).await.unwrap();
    assert_eq!(reserve(&store, reservation(200, 1_000, vec![cap.clone()])).await, Ok(vec![(1_000, false)]));
    assert_eq!(store.books().await.unwrap()[0].reserved.micros, 1_000);
    store.verify().await.unwrap();
}

//! What only SQL can see: that the ledger stays, that tampering shows, and what stays in memory.

use super::*;
use inshore_domain::{Claim, Principal, TargetId};

use crate::migrations::migrate;
use crate::written::write_down;

fn memory() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection, std::path::Path::new("memory")).unwrap();
    connection.pragma_update(None, "recursive_triggers", true).unwrap();
    connection
}

fn load(connection: &Connection) -> Books {
    let folded = connection.query_row("SELECT ledger FROM folded", [], |row| row.get(0)).unwrap();
    Books::load(connection, Currency::USD, folded, None).unwrap()
}

/// As the writer does it.
fn fold(books: &mut Books, connection: &Connection) {
    books.take_changes().write(connection).unwrap();
    connection.execute("UPDATE folded SET ledger = ?1", [books.last()]).unwrap();
    books.folded();
}

fn time(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

fn claim(subject: &str, since: u64) -> Claim {
    Claim {
        cap: "daily".into(),
        subject: subject.into(),
        measure: Measure::Money,
        window: Window::Day,
        since: time(since),
        renews: Some(time(since + ledger::DAY)),
        limit: 1_000,
        warn_at: None,
    }
}

fn reservation(number: u128, at: u64, money: u64, claims: Vec<Claim>) -> Reservation {
    Reservation {
        id: ReservationId::from_bits(number),
        receipt: inshore_domain::ReceiptId::from_bits(number),
        target: TargetId("cloud".into()),
        at: time(at),
        amounts: Amounts { money, tokens: 10, calls: 1, bytes_out: 100 },
        claims,
    }
}

fn reserve(books: &mut Books, connection: &Connection, reservation: &Reservation) {
    let account = AccountName::of(&reservation.target.0, &Principal::default(), None);
    try_reserve(books, connection, reservation, &account).unwrap();
}

fn try_reserve(
    books: &mut Books,
    connection: &Connection,
    reservation: &Reservation,
    account: &AccountName,
) -> Result<Taken, ReserveError> {
    write_down(connection, |pen| books.reserve(pen, reservation, account)).unwrap()
}

fn close(books: &mut Books, connection: &Connection, number: u128, closing: Closing) -> Closed {
    write_down(connection, |pen| books.close(pen, ReservationId::from_bits(number), closing, time(9)))
        .unwrap()
}

fn settle(books: &mut Books, connection: &Connection, number: u128, money: u64) {
    let used = Amounts { money, tokens: 5, calls: 1, bytes_out: 50 };
    let closed = close(books, connection, number, Closing::Settled(used));
    assert_eq!(closed, Closed::Done(Vec::new()));
}

/// Books with one reservation settled, one open and one in doubt, folded.
fn some() -> (Connection, Books) {
    let connection = memory();
    let mut books = load(&connection);
    for number in 1..=3 {
        reserve(&mut books, &connection, &reservation(number, 5, 100, vec![claim("ann", 0)]));
    }
    settle(&mut books, &connection, 1, 60);
    close(&mut books, &connection, 3, Closing::InDoubt);
    fold(&mut books, &connection);
    (connection, books)
}

#[test]
fn the_ledger_is_only_added_to() {
    let (connection, _) = some();
    for change in [
        "UPDATE ledger SET spent = 0 WHERE seq = 4",
        "DELETE FROM ledger WHERE seq = 4",
        "DELETE FROM ledger",
        "INSERT OR REPLACE INTO ledger SELECT * FROM ledger WHERE seq = 4",
        "REPLACE INTO ledger SELECT * FROM ledger WHERE seq = 1",
    ] {
        let refused = connection.execute(change, []).unwrap_err();
        assert!(refused.to_string().contains("the ledger is only added to"), "{change}: {refused}");
    }
    let unbalanced = "INSERT INTO ledger SELECT 99, entry, reservation, receipt, account, at, day, available + 1, reserved, \
        in_doubt, spent, tokens, calls, bytes_out, counters FROM ledger WHERE seq = 1";
    assert!(connection.execute(unbalanced, []).unwrap_err().to_string().contains("CHECK"));
    assert_eq!(audit(&connection).unwrap(), None);
}

#[test]
fn the_first_thing_that_does_not_agree_is_named() {
    for (tampering, found) in [
        ("UPDATE counters SET settled = settled + 1", "counter 1 (cap `daily`, subject `ann`)"),
        ("UPDATE counters SET reserved = 0", "counter 1 (cap `daily`, subject `ann`)"),
        ("DELETE FROM counters", "there is no counter 1"),
        ("UPDATE reservations SET money = money + 1", "is not as the ledger has it"),
        ("UPDATE reservations SET doubted = 1 - doubted", "is not as the ledger has it"),
        ("DELETE FROM reservations WHERE doubted", "1 reservations are open, and 2 in the ledger"),
        ("UPDATE sums SET settled = 0", "day 0 of account 1"),
        ("DELETE FROM sums", "day 0 of account 1"),
        ("DELETE FROM accounts", "account 1 has postings and no name"),
        (
            "DROP TRIGGER ledger_is_not_removed; DELETE FROM ledger WHERE seq = 2",
            "row 2 of the ledger is missing",
        ),
        (
            "DROP TRIGGER ledger_is_not_removed; DELETE FROM ledger WHERE seq = 5",
            "row 5 of the ledger is missing",
        ),
        (
            "DROP TRIGGER ledger_is_not_changed; UPDATE ledger SET spent = 61, available = 39 WHERE seq = 4",
            "(cap `daily`, subject `ann`)",
        ),
        (
            "DROP TRIGGER ledger_is_not_changed; UPDATE ledger SET reserved = -90, available = 30 WHERE seq = 4",
            "row 4 of the ledger does not fit",
        ),
        (
            "DROP TRIGGER ledger_is_not_changed; UPDATE ledger SET tokens = 11 WHERE seq = 4",
            "row 4 of the ledger settles more than was reserved",
        ),
        (
            "DROP TRIGGER ledger_is_not_changed; UPDATE ledger SET reservation = zeroblob(16) WHERE seq = 4",
            "row 4 of the ledger closes",
        ),
        (
            "PRAGMA ignore_check_constraints = 1; DROP TRIGGER ledger_is_not_changed; \
                UPDATE ledger SET spent = 61 WHERE seq = 4",
            "row 4 of the ledger does not balance",
        ),
    ] {
        let (connection, _) = some();
        assert_eq!(audit(&connection).unwrap(), None);
        connection.execute_batch(tampering).unwrap();
        let problem = audit(&connection).unwrap().unwrap_or_default();
        assert!(problem.contains(found), "{tampering}: `{problem}`");
    }
}

#[test]
fn rows_that_were_not_folded_are_done_again() {
    let connection = memory();
    let mut books = load(&connection);
    for number in 1..=20 {
        reserve(&mut books, &connection, &reservation(number, 5, 10, vec![claim("ann", 0)]));
        if number % 3 == 0 {
            settle(&mut books, &connection, number, 7);
        }
        if number == 10 {
            fold(&mut books, &connection);
        }
    }
    let again = load(&connection);
    assert_eq!(again.counters.used(1), books.counters.used(1));
    assert_eq!(again.counters.used(1), Used { settled: 42, reserved: 140, in_doubt: 0 });
    assert_eq!((again.open.len(), again.last), (14, 26));
    let mut again = again;
    fold(&mut again, &connection);
    assert_eq!(audit(&connection).unwrap(), None);
}

#[test]
fn what_memory_alone_knows_outlives_a_transaction_that_failed() {
    let connection = memory();
    let mut books = load(&connection);
    let cap = |limit| Claim { window: Window::Request, renews: None, limit, ..claim("", 0) };
    let of = |number, claim| Reservation {
        receipt: inshore_domain::ReceiptId::from_bits(7),
        ..reservation(number, 5, 100, vec![claim])
    };
    reserve(&mut books, &connection, &of(1, cap(300)));
    reserve(&mut books, &connection, &of(2, cap(300)));
    settle(&mut books, &connection, 1, 50);
    // Rolled back: one more reservation, and the settlement of the second.
    connection.execute_batch("BEGIN").unwrap();
    reserve(&mut books, &connection, &of(3, cap(300)));
    settle(&mut books, &connection, 2, 20);
    connection.execute_batch("ROLLBACK").unwrap();
    let books = Books::load(&connection, Currency::USD, 0, Some(&books)).unwrap();
    let used = books.requests.used(inshore_domain::ReceiptId::from_bits(7), &cap(300));
    assert_eq!(used, Used { settled: 50, reserved: 100, in_doubt: 0 });
}

#[test]
fn windows_that_are_over_leave_memory_and_come_back_when_asked() {
    let connection = memory();
    let (mut books, mirror) = (load(&connection), Mirror::new(Currency::USD));
    let day = ledger::DAY;
    reserve(&mut books, &connection, &reservation(1, 5, 100, vec![claim("ann", 0)]));
    settle(&mut books, &connection, 1, 90);
    reserve(&mut books, &connection, &reservation(2, 6, 100, vec![claim("bob", 0)]));
    books.publish(&mirror);
    assert_eq!(mirror.headroom(&[claim("ann", 0), claim("bob", 0), claim("cid", 0)]), [910, 900, 1_000]);

    // The next day: what still holds something stays.
    reserve(&mut books, &connection, &reservation(3, day + 5, 100, vec![claim("ann", day)]));
    fold(&mut books, &connection);
    books.publish(&mirror);
    assert_eq!(mirror.headroom(&[claim("ann", 0), claim("bob", 0), claim("ann", day)]), [1_000, 900, 900]);

    // The clock is set back: what was used of that day is not forgotten.
    let late = reservation(4, 7, 911, vec![claim("ann", 0)]);
    let account = AccountName::of("cloud", &Principal::default(), None);
    let refused = try_reserve(&mut books, &connection, &late, &account);
    assert!(matches!(refused, Err(ReserveError::OverCap(over)) if over.settled == 90));
    reserve(&mut books, &connection, &reservation(4, 7, 910, vec![claim("ann", 0)]));
    books.publish(&mirror);
    assert_eq!(mirror.headroom(&[claim("ann", 0)]), [0]);
    fold(&mut books, &connection);
    assert_eq!(audit(&connection).unwrap(), None);
}

#[test]
fn rows_of_windows_that_are_over_are_limited() {
    let connection = memory();
    let mut books = load(&connection);
    for day in 0..5_000 {
        let number = u128::from(day) + 1;
        let since = day * ledger::DAY;
        reserve(&mut books, &connection, &reservation(number, since, 10, vec![claim("ann", since)]));
        if day > 0 {
            settle(&mut books, &connection, number, 5);
        }
        if day % 100 == 99 {
            fold(&mut books, &connection);
        }
    }
    let rows = |filter: &str| -> i64 {
        connection
            .query_row(&format!("SELECT count(*) FROM counters WHERE {filter}"), [], |row| row.get(0))
            .unwrap()
    };
    // 4096 are kept, and the first one, which a reservation that was never closed holds on to.
    assert_eq!((rows("true"), rows("since = 0")), (4097, 1));
    assert_eq!(audit(&connection).unwrap(), None);
}

#[test]
fn a_new_currency_begins_anew() {
    let (connection, _) = some();
    let euro = Currency::new("EUR").unwrap();
    let mut books = Books::load(&connection, euro, 5, None).unwrap();
    let money = reservation(10, 5, 1_000, vec![claim("ann", 0)]);
    reserve(&mut books, &connection, &money);
    // The one that is open in dollars is settled in dollars.
    settle(&mut books, &connection, 2, 100);
    fold(&mut books, &connection);
    assert_eq!(audit(&connection).unwrap(), None);
    let balances: Vec<String> = balances(&connection)
        .unwrap()
        .into_iter()
        .map(|balance| {
            format!("{} {} {} {}", balance.target, balance.reserved, balance.in_doubt, balance.spent)
        })
        .collect();
    assert_eq!(
        balances,
        ["cloud 0.001000 EUR 0.00 EUR 0.00 EUR", "cloud 0.00 USD 0.000100 USD 0.000160 USD",]
    );
}

#[test]
fn there_are_limits() {
    let connection = memory();
    let mut books = load(&connection);
    let account = AccountName::of("cloud", &Principal::default(), None);
    let claims = (0..65).map(|number| claim(&number.to_string(), 0)).collect();
    let refused = try_reserve(&mut books, &connection, &reservation(1, 5, 1, claims), &account);
    assert_eq!(refused, Err(ReserveError::TooManyClaims { claims: 65 }));
    for number in 0..MOST_OPEN as u128 {
        reserve(&mut books, &connection, &reservation(number, 5, 0, Vec::new()));
    }
    let refused = try_reserve(&mut books, &connection, &reservation(1 << 64, 5, 0, Vec::new()), &account);
    assert_eq!(refused, Err(ReserveError::TooManyOpen));
    let again = try_reserve(&mut books, &connection, &reservation(1, 5, 0, Vec::new()), &account);
    assert_eq!(again, Err(ReserveError::Known { id: ReservationId::from_bits(1) }));
    settle(&mut books, &connection, 1, 0);
    reserve(&mut books, &connection, &reservation(1 << 64, 5, 0, Vec::new()));
}

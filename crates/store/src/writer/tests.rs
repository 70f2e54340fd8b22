//! The writer and the folder without threads: what happens when a file or the database fails them.

use super::*;
use std::path::Path;

use inshore_domain::{
    Amounts, Claim, Measure, Money, Outcome, Principal, Profile, Receipt, ReceiptId, RequestId, Reservation,
    ReservationId, Sensitivity, Strategy, TargetId, Timestamp, Timings, TraceId, Usage, Window,
};

use crate::books::{AccountName, Settled};
use crate::connection::{connect, prepare};
use crate::folder::Folder;
use crate::key::Key;
use crate::lock::Lock;
use crate::rows;
use crate::work::{Handover, Reserve, Settle};

type Answer = oneshot::Receiver<Result<Settled, StoreError>>;

fn receipt(number: u128) -> Receipt {
    Receipt {
        id: ReceiptId::from_bits(number),
        request: RequestId::from_bits(number),
        trace: TraceId::new(number),
        at: Timestamp::from_unix_millis(1),
        principal: Principal::default(),
        feature: None,
        profile: Profile::Realtime,
        asked: "auto".into(),
        answered_by: None,
        strategy: Strategy::Direct,
        sensitivity: Sensitivity::Internal,
        verdicts: Vec::new(),
        failed_steps: vec![(TargetId("t".into()), "x".repeat(3000))],
        usage: Usage::default(),
        timings: Timings::default(),
        egress: Vec::new(),
        cost: Money::ZERO,
        in_doubt: Money::ZERO,
        replay: None,
        notes: Vec::new(),
        outcome: Outcome::Answered,
    }
}

fn settle(number: u128) -> (Work, Answer) {
    let (done, answer) = oneshot::channel();
    (Work::Settle(Settle::new(receipt(number), Vec::new(), done)), answer)
}

fn key() -> Key {
    Key::from_bytes([7; 32])
}

/// A store without threads.
struct Office {
    writer: Writer,
    folder: Folder,
    orders: mpsc::Sender<Order>,
    path: PathBuf,
}

impl Office {
    fn open(folder: &Path) -> Self {
        let path = folder.join("db");
        prepare(&path, &key()).unwrap();
        let mirror = Arc::new(Mirror::new(Currency::USD));
        let common = Common { currency: Currency::USD, mirror, lost: Arc::default(), retained: 1_000_000 };
        let lock = Arc::new(Lock::take(&path).unwrap());
        let (mut folder, left) = Folder::open(&path, &key(), &common, lock).unwrap();
        let asking = connect(&path, &key()).unwrap();
        let (journal, state) = folder.begin(key(), left).unwrap();
        let (orders, queue) = mpsc::channel(64);
        let writer = Writer::new(asking, path.clone(), journal, state, common, queue);
        Self { writer, folder, orders, path }
    }

    /// Puts an order into the queue.
    fn order(&self, work: Work) {
        assert!(self.orders.try_send(Order::Work(work)).is_ok());
    }

    /// What the writer's thread does until there is nothing left.
    fn work(&mut self) {
        loop {
            let turn = self.writer.turn(BATCH, Patience::Some);
            match self.writer.job() {
                Some(job) => {
                    let done = self.folder.carry_out(job);
                    self.writer.end_job(done);
                }
                None if turn == Turn::More => {}
                None => return,
            }
        }
    }

    /// Settles receipts as one batch on a caller's thread, and says which were new.
    fn settle(&mut self, numbers: std::ops::Range<u128>) -> Result<Vec<bool>, StoreError> {
        let (batch, answers): (Vec<_>, Vec<_>) = numbers.map(settle).unzip();
        batch.into_iter().for_each(|work| self.order(work));
        if self.writer.turn(BATCH, Patience::None) == Turn::More {
            self.work();
        }
        let answers: Vec<_> = answers.into_iter().map(|mut answer| answer.try_recv().unwrap()).collect();
        answers
            .into_iter()
            .map(|answer| match answer {
                Ok(_) => Ok(true),
                Err(StoreError::AlreadySettled { .. }) => Ok(false),
                Err(error) => Err(error),
            })
            .collect()
    }

    /// Brings everything to the tables.
    fn fold(&mut self) -> Result<(), StoreError> {
        let (done, mut answer) = oneshot::channel();
        assert!(self.orders.try_send(Order::Fold(done)).is_ok());
        self.work();
        answer.try_recv().unwrap()
    }

    /// Another connection to the same database.
    fn other(&self) -> Connection {
        connect(&self.path, &key()).unwrap()
    }

    /// From now on the database may have no more pages than it has.
    fn fill(&self) {
        let pages: i64 = self.other().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        self.folder.limit_pages(pages);
    }

    fn left(&self, claim: &Claim) -> u64 {
        self.writer.common.mirror.headroom(std::slice::from_ref(claim))[0]
    }
}

fn daily() -> Claim {
    Claim {
        cap: "daily".into(),
        subject: String::new(),
        measure: Measure::Money,
        window: Window::Day,
        since: Timestamp::from_unix_millis(0),
        renews: Some(Timestamp::from_unix_millis(100)),
        limit: 1_000,
        warn_at: None,
    }
}

fn reserve(number: u128) -> (Work, oneshot::Receiver<Result<Handover, crate::books::ReserveError>>) {
    let (done, answer) = oneshot::channel();
    let reservation = Reservation {
        id: ReservationId::from_bits(number),
        receipt: ReceiptId::from_bits(number),
        target: TargetId("cloud".into()),
        at: Timestamp::from_unix_millis(5),
        amounts: Amounts { money: 100, ..Amounts::default() },
        claims: vec![daily()],
    };
    let account = AccountName::of("cloud", &Principal::default(), None);
    (Work::Reserve(Reserve::new(reservation, account, Arc::default(), done)), answer)
}

/// How many of these reservations are granted, as one batch.
fn grant(office: &mut Office, numbers: std::ops::Range<u128>) -> Result<usize, StoreError> {
    let (mut batch, answers): (Vec<_>, Vec<_>) = numbers.map(reserve).unzip();
    office.writer.commit(&mut batch)?;
    batch.into_iter().for_each(Work::answer);
    let taken = |mut answer: oneshot::Receiver<Result<Handover, _>>| {
        answer.try_recv().unwrap().ok().and_then(Handover::take)
    };
    Ok(answers.into_iter().filter_map(taken).count())
}

#[test]
fn a_full_database_is_reported_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(folder.path());
    office.fill();
    assert_eq!(office.settle(1..20).unwrap(), [true; 19], "the journal has room");
    let full = Err(StoreError::DiskFull { path: folder.path().join("db") });
    assert_eq!(office.fold(), full);
    assert_eq!(office.settle(20..30).unwrap(), [true; 10]);
    assert_eq!(office.fold(), full);
    office.folder.limit_pages(1_000_000);
    assert_eq!(office.fold(), Ok(()));
    assert_eq!(rows::newest(&office.other(), 100).unwrap().len(), 29);
    assert_eq!(office.settle(25..32).unwrap(), [false, false, false, false, false, true, true]);
    assert_eq!(office.fold(), Ok(()));
    assert_eq!(crate::books::audit(&office.other()).unwrap(), None);
}

#[test]
fn what_could_not_be_brought_to_the_tables_is_brought_there_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(folder.path());
    office.fill();
    assert_eq!(grant(&mut office, 0..2), Ok(2));
    assert_eq!(office.settle(1..20).unwrap(), [true; 19]);
    assert!(office.fold().is_err());
    // A process that ends without its destructors: the files stay as they are.
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let mut office = Office::open(copy.path());
    assert_eq!(rows::newest(&office.other(), 100).unwrap().len(), 19);
    assert_eq!(office.left(&daily()), 800);
    assert_eq!(office.settle(1..3).unwrap(), [false, false]);
    assert_eq!(crate::books::audit(&office.other()).unwrap(), None);
}

#[test]
fn there_is_a_limit_to_what_waits_for_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(folder.path());
    assert_eq!(office.settle(1..3).unwrap(), [true, true]);
    office.fill();
    office.writer.unfolded = MOST_UNFOLDED;
    let full = StoreError::DiskFull { path: folder.path().join("db") };
    for _ in 0..2 {
        assert_eq!(office.settle(3..6), Err(full.clone()));
    }
    office.folder.limit_pages(1_000_000);
    assert_eq!(office.settle(3..6).unwrap(), [true; 3]);
    assert_eq!(office.fold(), Ok(()));
    assert_eq!(rows::newest(&office.other(), 100).unwrap().len(), 5);
}

#[test]
fn a_record_that_could_not_be_written_is_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(folder.path());
    assert_eq!(grant(&mut office, 0..2), Ok(2));
    // A receipt that finds no room takes the reservations of its batch along.
    office.writer.journal.fail_after(1_000);
    let (mut batch, _answers): (Vec<_>, Vec<_>) = (2..9).map(reserve).unzip();
    batch.extend((0..9).map(|number| settle(number).0));
    let failed = office.writer.commit(&mut batch);
    assert_eq!(failed, Err(StoreError::DiskFull { path: folder.path().join("db") }));
    assert!(matches!(office.writer.state, Known::Stale(Some(_))));
    assert_eq!(office.left(&daily()), 800);
    // The next order has the state read again.
    assert_eq!(office.settle(0..1).unwrap(), [true]);
    assert_eq!(grant(&mut office, 2..12), Ok(8), "as many as there was room for");
    assert_eq!(office.left(&daily()), 0);
    assert_eq!(office.fold(), Ok(()));
    assert_eq!(crate::books::audit(&office.other()).unwrap(), None);
}

#[test]
fn a_state_that_cannot_be_read_again_is_reported_and_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(folder.path());
    assert_eq!(grant(&mut office, 0..2), Ok(2));
    office.fill();
    assert_eq!(office.settle(30..60).unwrap(), [true; 30]);
    office.writer.journal.fail_after(10);
    let full = Err(StoreError::DiskFull { path: folder.path().join("db") });
    assert_eq!(office.settle(1..20), full.clone());
    assert_eq!(office.settle(1..20), full, "neither the journal's fault now, nor forgotten");
    office.folder.limit_pages(1_000_000);
    assert_eq!(office.settle(1..20).unwrap(), [true; 19]);
    assert_eq!(grant(&mut office, 2..12), Ok(8));
    assert_eq!(office.fold(), Ok(()));
    assert_eq!(crate::books::audit(&office.other()).unwrap(), None);
}

#[test]
fn a_database_locked_by_another_program_makes_only_readers_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(folder.path());
    office.folder.hurry();
    let other = office.other();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(office.settle(1..3).unwrap(), [true, true]);
    assert!(matches!(office.fold(), Err(StoreError::Unavailable { .. })));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(office.fold(), Ok(()));
    assert_eq!(rows::newest(&other, 10).unwrap().len(), 2);
}

#[test]
fn a_receipt_settled_twice_does_not_disturb_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(folder.path());
    assert_eq!(office.settle(1..3).unwrap(), [true, true]);
    assert_eq!(office.settle(2..5).unwrap(), [false, true, true]);
    assert_eq!(office.fold(), Ok(()));
    assert_eq!(office.settle(0..6).unwrap(), [true, false, false, false, false, true]);
    let Known::Good(state) = &office.writer.state else { panic!("the state is stale") };
    assert_eq!((state.receipts.first, state.receipts.last), (1, 6));
}

#[test]
fn what_is_written_while_a_fold_is_under_way_is_in_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(folder.path());
    assert_eq!(grant(&mut office, 0..2), Ok(2));
    assert_eq!(office.settle(1..3).unwrap(), [true, true]);
    let job = office.writer.make_job();
    // Before it is written, and before it is known to be.
    assert_eq!(office.settle(2..5).unwrap(), [false, true, true]);
    let done = office.folder.carry_out(job);
    assert_eq!(crate::books::audit(&office.other()).unwrap(), None);
    assert_eq!(office.settle(0..7).unwrap(), [true, false, false, false, false, true, true]);
    assert_eq!(grant(&mut office, 2..20), Ok(8));
    office.writer.end_job(done);
    assert_eq!(office.settle(0..8).unwrap(), [false, false, false, false, false, false, false, true]);
    assert_eq!(office.fold(), Ok(()));
    assert_eq!(rows::newest(&office.other(), 100).unwrap().len(), 8);
    assert_eq!(crate::books::audit(&office.other()).unwrap(), None);
    assert_eq!(office.left(&daily()), 0);
}

#[test]
fn a_caller_is_not_told_of_a_fold_that_began_before_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(folder.path());
    let job = office.writer.make_job();
    assert_eq!(office.settle(1..2).unwrap(), [true]);
    let (done, mut answer) = oneshot::channel();
    assert!(office.orders.try_send(Order::Fold(done)).is_ok());
    assert_eq!(office.writer.turn(8, Patience::None), Turn::Idle, "it waits for the job");
    let done = office.folder.carry_out(job);
    office.writer.end_job(done);
    assert!(answer.try_recv().is_err(), "its receipt is not in the tables");
    office.work();
    assert_eq!(answer.try_recv().unwrap(), Ok(()));
    assert_eq!(rows::newest(&office.other(), 100).unwrap().len(), 1);
}

#[test]
fn long_files_are_written_over_in_turn() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(folder.path());
    let long = |folder: &Path| {
        let length = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
        crate::journal::paths(&folder.join("db")).iter().map(length).collect::<Vec<_>>()
    };
    let mut highest = [0; 2];
    // Each receipt takes 3 KB; four files' worth of them.
    for round in 0..100_u128 {
        let first = round * 60;
        assert_eq!(office.settle(first..first + 60).unwrap(), [true; 60]);
        for (highest, now) in highest.iter_mut().zip(long(folder.path())) {
            *highest = now.max(*highest);
        }
    }
    for highest in highest {
        assert!((4 << 20..6 << 20).contains(&highest), "{highest}");
    }
    assert!(long(folder.path()).iter().sum::<u64>() < 10 << 20);
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let office = Office::open(copy.path());
    let Known::Good(state) = &office.writer.state else { panic!("the state is stale") };
    assert_eq!(state.receipts.last, 6_000);
    assert_eq!(crate::books::audit(&office.other()).unwrap(), None);
}

#[test]
fn the_last_turn_comes_when_nothing_can_come_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut office = Office::open(folder.path());
    let (work, mut answer) = settle(1);
    office.order(work);
    let (orders, _) = mpsc::channel(1);
    drop(std::mem::replace(&mut office.orders, orders));
    assert_eq!(office.writer.turn(8, Patience::None), Turn::More);
    assert_eq!(answer.try_recv().unwrap(), Ok(Settled::default()));
    assert_eq!(office.writer.turn(8, Patience::Some), Turn::Ended);
    let Office { writer, folder: last, path, .. } = office;
    last.finish(writer);
    assert!(crate::journal::paths(&path).iter().all(|file| !file.exists()));
}

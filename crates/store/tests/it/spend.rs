//! Reports.

use inshore_domain::receipt::AnsweredBy;
use inshore_domain::{
    Closing, Currency, Money, Principal, Receipt, ReceiptId, Reservation, TargetId, Tier, Usage,
};
use inshore_store::{SpendBy, SpendKey, SpendQuery, SpendRow, Store, StoreOptions};

use crate::sample::{DAY, at, close, id, key, money, open, receipt, reservation};

/// Someone's request on a day: on the device, or elsewhere at this price.
struct Request {
    number: u128,
    day: u64,
    user: Option<&'static str>,
    feature: Option<&'static str>,
    price: Option<u64>,
}

impl Request {
    fn principal(&self) -> Principal {
        let organisation = self.user.map(|_| "acme".to_owned());
        Principal { app: "editor".into(), user: self.user.map(str::to_owned), organisation }
    }

    fn receipt(&self) -> Receipt {
        let (target, tier) = match self.price {
            Some(_) => ("openai/gpt-5-mini", Tier::Cloud),
            None => ("device/inshore-default", Tier::Device),
        };
        Receipt {
            at: at(self.day * DAY + 7),
            principal: self.principal(),
            feature: self.feature.map(str::to_owned),
            answered_by: Some(AnsweredBy { target: TargetId(target.into()), tier, model: "m".into() }),
            usage: Usage {
                prompt_tokens: 100,
                cached_tokens: 10,
                output_tokens: self.number as u32,
                ..Usage::default()
            },
            ..receipt(self.number)
        }
    }

    async fn run(&self, store: &Store, closing: impl Fn(u64) -> Closing) {
        let mut closings = Vec::new();
        if let Some(price) = self.price {
            let wish =
                Reservation { at: at(self.day * DAY + 9), ..reservation(self.number, 2 * price, Vec::new()) };
            store.reserve(wish, &self.principal(), self.feature).await.unwrap();
            closings.push((id(self.number), closing(price)));
        }
        store.settle(self.receipt(), closings).await.unwrap();
    }
}

const REQUESTS: [Request; 6] = [
    Request { number: 1, day: 3, user: Some("ann"), feature: Some("chat"), price: Some(1_000) },
    Request { number: 2, day: 3, user: Some("bob"), feature: None, price: Some(2_000) },
    Request { number: 3, day: 4, user: Some("ann"), feature: Some("chat"), price: None },
    Request { number: 4, day: 4, user: None, feature: Some("inline-completion"), price: None },
    Request { number: 5, day: 5, user: Some("bob"), feature: Some("chat"), price: Some(30) },
    Request { number: 6, day: 9, user: Some("ann"), feature: Some("chat"), price: Some(5) },
];

fn settled(price: u64) -> Closing {
    Closing::Settled(money(price))
}

async fn spend(store: &Store, by: SpendBy) -> Vec<SpendRow> {
    store.spend(SpendQuery { from: at(3 * DAY + 5), to: at(6 * DAY), by }).await.unwrap()
}

/// Key, requests, output tokens, those on the device, money settled and in doubt.
async fn rows(store: &Store, by: SpendBy) -> Vec<(String, u64, u64, u64, i64, i64)> {
    let rows = spend(store, by).await.into_iter().map(|row| {
        let key = match row.key {
            SpendKey::Name(name) => name.unwrap_or_else(|| "-".into()),
            SpendKey::Target(target) => target.map_or_else(|| "-".into(), |target| target.0),
            SpendKey::Day(day) => (day.unix_millis() / DAY).to_string(),
        };
        let (settled, in_doubt) = (row.settled.micros, row.in_doubt.micros);
        (key, row.requests, row.tokens.output, row.device.output, settled, in_doubt)
    });
    rows.collect()
}

fn row(
    key: &str,
    requests: u64,
    output: u64,
    device: u64,
    settled: i64,
    in_doubt: i64,
) -> (String, u64, u64, u64, i64, i64) {
    (key.to_owned(), requests, output, device, settled, in_doubt)
}

#[tokio::test]
async fn money_and_tokens_are_summed_by_what_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    assert_eq!(rows(&store, SpendBy::Day).await, []);
    for request in &REQUESTS {
        request.run(&store, |price| if price == 30 { Closing::InDoubt } else { settled(price) }).await;
    }
    assert_eq!(
        rows(&store, SpendBy::User).await,
        [row("bob", 2, 7, 0, 2_000, 60), row("ann", 2, 4, 3, 1_000, 0), row("-", 1, 4, 4, 0, 0),]
    );
    assert_eq!(
        rows(&store, SpendBy::Feature).await,
        [
            row("-", 1, 2, 0, 2_000, 0),
            row("chat", 3, 9, 3, 1_000, 60),
            row("inline-completion", 1, 4, 4, 0, 0),
        ]
    );
    assert_eq!(
        rows(&store, SpendBy::Day).await,
        [row("3", 2, 3, 0, 3_000, 0), row("4", 2, 7, 7, 0, 0), row("5", 1, 5, 0, 0, 60),]
    );
    assert_eq!(
        rows(&store, SpendBy::Target).await,
        [row("openai/gpt-5-mini", 3, 8, 0, 3_000, 60), row("device/inshore-default", 2, 7, 7, 0, 0),]
    );
    assert_eq!(rows(&store, SpendBy::App).await, [row("editor", 5, 15, 7, 3_000, 60)]);
    assert_eq!(
        rows(&store, SpendBy::Organisation).await,
        [row("acme", 4, 11, 3, 3_000, 60), row("-", 1, 4, 4, 0, 0),]
    );
    let device = &spend(&store, SpendBy::Target).await[1];
    assert_eq!((device.device, device.tokens.prompt, device.tokens.cached), (device.tokens, 200, 20));

    // A doubt that is resolved later counts on the day of its reservation.
    store.close_reservation(id(5), settled(31), at(8 * DAY)).await.unwrap();
    assert_eq!(rows(&store, SpendBy::Day).await[2], row("5", 1, 5, 0, 31, 0));
    let nothing = SpendQuery { from: at(0), to: at(0), by: SpendBy::Day };
    assert_eq!(store.spend(nothing).await.unwrap(), []);
}

#[tokio::test]
async fn money_outlives_the_receipts() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        || StoreOptions { retained: 10, ..StoreOptions::new(folder.path().join("inshore.db"), key()) };
    let store = Store::open(options()).unwrap();
    for number in 0..1_000_u128 {
        let day = 3 + number as u64 / 500;
        let price = number.is_multiple_of(2).then_some(10);
        Request { number, day, user: Some("ann"), feature: None, price }.run(&store, settled).await;
    }
    assert!(store.receipts(1_000).await.unwrap().len() <= 10 + 4 * 128);
    assert_eq!(store.receipt(ReceiptId::from_bits(5)).await.unwrap(), None);
    let expected = [row("3", 500, 124_750, 62_500, 2_500, 0), row("4", 500, 374_750, 187_500, 2_500, 0)];
    assert_eq!(rows(&store, SpendBy::Day).await, expected);
    close(&store).await;
    let store = Store::open(options()).unwrap();
    assert_eq!(rows(&store, SpendBy::Day).await, expected);
    store.verify().await.unwrap();
}

#[tokio::test]
async fn currencies_are_not_added_up() {
    let folder = tempfile::tempdir().unwrap();
    for (number, code) in [(1, "USD"), (2, "EUR")] {
        let currency = Currency::new(code).unwrap();
        let options = StoreOptions { currency, ..StoreOptions::new(folder.path().join("inshore.db"), key()) };
        let store = Store::open(options).unwrap();
        Request { number, day: 3, user: None, feature: None, price: Some(100 * number as u64) }
            .run(&store, settled)
            .await;
        close(&store).await;
    }
    let rows = spend(&open(folder.path()).unwrap(), SpendBy::App).await;
    let settled: Vec<Money> = rows.iter().map(|row| row.settled).collect();
    assert_eq!(settled.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0.000200 EUR", "0.000100 USD"]);
}

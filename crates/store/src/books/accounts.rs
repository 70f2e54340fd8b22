//! On whose account: names become numbers, so that a row of the ledger is small.

use std::collections::HashMap;

use inshore_domain::{Currency, TargetId};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::names::{AccountName, AccountParts};
use crate::written::{Pen, Written};

/// Most accounts in one currency. Apps choose the names of their users and features; at about 150 bytes each these are
/// 2.5 MiB. Who comes later shares one account for each target, so that only reports lose sight of them, never a cap.
const MOST: usize = 16_384;

/// An account as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AccountRow<'r> {
    account: i64,
    currency: &'r str,
    target: &'r str,
    app: &'r str,
    user: Option<&'r str>,
    organisation: Option<&'r str>,
    feature: Option<&'r str>,
}

impl AccountRow<'_> {
    /// Adds it to the table.
    pub(crate) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "INSERT INTO accounts (account, currency, target, app, user, organisation, feature) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        connection.prepare_cached(sql)?.execute(params![
            self.account,
            self.currency,
            self.target,
            self.app,
            self.user,
            self.organisation,
            self.feature,
        ])?;
        Ok(())
    }
}

/// All accounts, in memory.
#[derive(Debug)]
pub(crate) struct Accounts {
    currency: Currency,
    /// Of the installation's currency.
    ids: HashMap<AccountName, i64>,
    /// Of every currency.
    targets: HashMap<i64, TargetId>,
    /// The greatest number there is.
    last: i64,
    most: usize,
}

impl Accounts {
    pub(crate) fn load(connection: &Connection, currency: Currency) -> rusqlite::Result<Self> {
        let (mut ids, mut targets, mut last) = (HashMap::new(), HashMap::new(), 0);
        let sql = "SELECT account, currency, target, app, user, organisation, feature FROM accounts";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let account: i64 = row.get(0)?;
            last = account.max(last);
            let parts = AccountParts {
                target: row.get_ref(2)?.as_str()?,
                app: row.get_ref(3)?.as_str()?,
                user: row.get_ref(4)?.as_str_or_null()?,
                organisation: row.get_ref(5)?.as_str_or_null()?,
                feature: row.get_ref(6)?.as_str_or_null()?,
            };
            targets.insert(account, TargetId(parts.target.to_owned()));
            if row.get_ref(1)?.as_str()? == currency.code() {
                ids.insert(AccountName::new(&parts), account);
            }
        }
        Ok(Self { currency, ids, targets, last, most: MOST })
    }

    /// The number of an account, which is opened when it is new.
    pub(crate) fn number(&mut self, pen: &mut Pen<'_>, name: &AccountName) -> rusqlite::Result<i64> {
        if let Some(account) = self.ids.get(name) {
            return Ok(*account);
        }
        let mut parts = name.parts();
        if self.ids.len() >= self.most {
            parts = AccountParts { app: "", user: None, organisation: None, feature: None, ..parts };
        }
        let shared = AccountName::new(&parts);
        if let Some(account) = self.ids.get(&shared) {
            return Ok(*account);
        }
        self.last += 1;
        let account = self.last;
        pen.write(&Written::Account(AccountRow {
            account,
            currency: self.currency.code(),
            target: parts.target,
            app: parts.app,
            user: parts.user,
            organisation: parts.organisation,
            feature: parts.feature,
        }))?;
        self.targets.insert(account, TargetId(parts.target.to_owned()));
        self.ids.insert(shared, account);
        Ok(account)
    }

    /// Where the money of an account goes.
    pub(crate) fn target(&self, account: i64) -> TargetId {
        self.targets.get(&account).cloned().unwrap_or_else(|| TargetId(String::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inshore_domain::Principal;

    use crate::written::write_down;

    fn memory() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::migrations::migrate(&mut connection, std::path::Path::new("memory")).unwrap();
        connection
    }

    fn name(target: &str, user: &str) -> AccountName {
        let principal = Principal { app: "editor".into(), user: Some(user.into()), organisation: None };
        AccountName::of(target, &principal, Some("chat"))
    }

    fn number(accounts: &mut Accounts, connection: &Connection, name: &AccountName) -> rusqlite::Result<i64> {
        write_down(connection, |pen| accounts.number(pen, name))
    }

    #[test]
    fn a_name_keeps_its_number() {
        let connection = memory();
        let mut accounts = Accounts::load(&connection, Currency::USD).unwrap();
        let ann = number(&mut accounts, &connection, &name("t", "ann")).unwrap();
        let bob = number(&mut accounts, &connection, &name("t", "bob")).unwrap();
        assert_ne!(ann, bob);
        let mut again = Accounts::load(&connection, Currency::USD).unwrap();
        assert_eq!(number(&mut again, &connection, &name("t", "ann")).unwrap(), ann);
        assert_eq!(again.target(bob), TargetId("t".into()));
        let mut euros = Accounts::load(&connection, Currency::new("EUR").unwrap()).unwrap();
        assert!(number(&mut euros, &connection, &name("t", "ann")).unwrap() > bob);
    }

    #[test]
    fn late_comers_share_an_account_for_each_target() {
        let connection = memory();
        let mut accounts = Accounts::load(&connection, Currency::USD).unwrap();
        accounts.most = 2;
        let ann = number(&mut accounts, &connection, &name("t", "ann")).unwrap();
        number(&mut accounts, &connection, &name("t", "bob")).unwrap();
        let cid = number(&mut accounts, &connection, &name("t", "cid")).unwrap();
        assert_eq!(number(&mut accounts, &connection, &name("t", "dan")).unwrap(), cid);
        assert_ne!(number(&mut accounts, &connection, &name("u", "dan")).unwrap(), cid);
        assert_eq!(number(&mut accounts, &connection, &name("t", "ann")).unwrap(), ann);
    }
}

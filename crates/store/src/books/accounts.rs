//! On whose account: names become numbers, so that a row of the ledger is small.

use std::collections::HashMap;

use inshore_domain::{Currency, TargetId};
use rusqlite::{Connection, params};

use super::names::{AccountName, AccountParts};

/// Most accounts in one currency. Apps choose the names of their users and features; at about 150 bytes each these are
/// 2.5 MiB. Who comes later shares one account for each target, so that only reports lose sight of them, never a cap.
const MOST: usize = 16_384;

/// All accounts, in memory.
#[derive(Debug)]
pub(crate) struct Accounts {
    currency: Currency,
    /// Of the installation's currency.
    ids: HashMap<AccountName, i64>,
    /// Of every currency.
    targets: HashMap<i64, TargetId>,
    most: usize,
}

impl Accounts {
    pub(crate) fn load(connection: &Connection, currency: Currency) -> rusqlite::Result<Self> {
        let (mut ids, mut targets) = (HashMap::new(), HashMap::new());
        let sql = "SELECT account, currency, target, app, user, organisation, feature FROM accounts";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let account: i64 = row.get(0)?;
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
        Ok(Self { currency, ids, targets, most: MOST })
    }

    /// The number of an account, which is opened when it is new.
    pub(crate) fn number(&mut self, connection: &Connection, name: &AccountName) -> rusqlite::Result<i64> {
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
        let sql = "INSERT INTO accounts (currency, target, app, user, organisation, feature) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let account = connection.prepare_cached(sql)?.insert(params![
            self.currency.code(),
            parts.target,
            parts.app,
            parts.user,
            parts.organisation,
            parts.feature,
        ])?;
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

    fn memory() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::migrations::migrate(&mut connection, std::path::Path::new("memory")).unwrap();
        connection
    }

    fn name(target: &str, user: &str) -> AccountName {
        let principal = Principal { app: "editor".into(), user: Some(user.into()), organisation: None };
        AccountName::of(target, &principal, Some("chat"))
    }

    #[test]
    fn a_name_keeps_its_number() {
        let connection = memory();
        let mut accounts = Accounts::load(&connection, Currency::USD).unwrap();
        let ann = accounts.number(&connection, &name("t", "ann")).unwrap();
        let bob = accounts.number(&connection, &name("t", "bob")).unwrap();
        assert_ne!(ann, bob);
        let mut again = Accounts::load(&connection, Currency::USD).unwrap();
        assert_eq!(again.number(&connection, &name("t", "ann")).unwrap(), ann);
        assert_eq!(again.target(bob), TargetId("t".into()));
        let mut euros = Accounts::load(&connection, Currency::new("EUR").unwrap()).unwrap();
        assert!(euros.number(&connection, &name("t", "ann")).unwrap() > bob);
    }

    #[test]
    fn late_comers_share_an_account_for_each_target() {
        let connection = memory();
        let mut accounts = Accounts::load(&connection, Currency::USD).unwrap();
        accounts.most = 2;
        let ann = accounts.number(&connection, &name("t", "ann")).unwrap();
        accounts.number(&connection, &name("t", "bob")).unwrap();
        let cid = accounts.number(&connection, &name("t", "cid")).unwrap();
        assert_eq!(accounts.number(&connection, &name("t", "dan")).unwrap(), cid);
        assert_ne!(accounts.number(&connection, &name("u", "dan")).unwrap(), cid);
        assert_eq!(accounts.number(&connection, &name("t", "ann")).unwrap(), ann);
    }
}

//! One attempt of a pull.

use std::path::Path;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, ETAG, HOST, HeaderMap, HeaderName, HeaderValue,
    IF_RANGE, LOCATION, RANGE, USER_AGENT,
};
use http::{Request, StatusCode, response};
use inshore_domain::{EgressLog, TargetId};
use url::{Origin, Url};

use super::file::{Digest, Part};
use super::{Download, DownloadError, MAX_REDIRECTS, Progress};
use crate::gate::{Account, Destination, Exchange, Gate, GateError, Pieces, Scheme};

/// Room that must be left on the disk beside the file.
const RESERVE: u64 = 64 << 20;

/// A pull over all of its attempts.
pub(super) struct Pull<'a> {
    gate: &'a Gate,
    what: &'a Download,
    egress: &'a EgressLog,
    /// Names pulls in the egress log, where inference calls have the name of their target.
    name: TargetId,
    hosts: Vec<String>,
    /// The checksum that the hub told.
    told: Option<Digest>,
    resumed_from: u64,
}

impl<'a> Pull<'a> {
    pub(super) fn new(gate: &'a Gate, what: &'a Download, egress: &'a EgressLog, resumed_from: u64) -> Self {
        let name = TargetId("model-pull".into());
        Self { gate, what, egress, name, hosts: Vec::new(), told: None, resumed_from }
    }

    pub(super) fn told(&self) -> Option<Digest> {
        self.told
    }

    pub(super) fn resumed_from(&self) -> u64 {
        self.resumed_from
    }

    pub(super) fn into_hosts(self) -> Vec<String> {
        self.hosts
    }

    /// Pulls what is missing. `Ok` when the file is whole, as far as lengths tell.
    pub(super) async fn attempt(
        &mut self,
        part: &mut Part,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), DownloadError> {
        let (host, head, mut exchange) = self.follow(part).await?;
        let total = self.place(&host, &head, part).await?;
        if head.status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(());
        }
        if total.is_some_and(|total| total > self.what.max_bytes) {
            return Err(DownloadError::TooLarge { limit: self.what.max_bytes });
        }
        check_space(&self.what.path, total, part.length())?;
        let report = |part: &Part, resumed_from| Progress { bytes: part.length(), total, resumed_from };
        progress(report(part, self.resumed_from));
        while let Some(chunk) = exchange.chunk().await {
            let chunk = chunk.map_err(DownloadError::Connection)?;
            if part.length() + chunk.len() as u64 > total.unwrap_or(self.what.max_bytes) {
                return Err(DownloadError::TooLarge { limit: total.unwrap_or(self.what.max_bytes) });
            }
            part.append(&chunk).await?;
            progress(report(part, self.resumed_from));
        }
        match total {
            Some(total) if part.length() < total => Err(DownloadError::Connection(GateError::new(
                crate::gate::GateErrorKind::Broken,
                format!("`{host}` ended the file at {} of {total} bytes", part.length()),
            ))),
            _ => Ok(()),
        }
    }

    /// Asks for what is missing, and follows redirects to where it is.
    async fn follow(&mut self, part: &Part) -> Result<(String, response::Parts, Exchange), DownloadError> {
        let mut url = self.what.url.clone();
        for hop in 0..=MAX_REDIRECTS {
            let destination = Destination::of(&url)?;
            let host = destination.authority().to_owned();
            if !self.hosts.contains(&host) {
                self.hosts.push(host.clone());
            }
            let request = self.request(&url, &destination, part)?;
            let account = Account { egress: self.egress, target: &self.name };
            let timeouts = &self.what.timeouts;
            let sent = match hop {
                0 => self.gate.send(&destination, request, timeouts, account).await,
                _ => self.gate.send_redirected(&destination, request, timeouts, account).await,
            };
            let (head, exchange) = sent.map_err(DownloadError::Connection)?;
            if hop == 0 || self.told.is_none() {
                self.told = told_digest(&head.headers).or(self.told);
            }
            if !head.status.is_redirection() {
                return Ok((host, head, exchange));
            }
            url = next_hop(&url, &head, &host)?;
        }
        Err(DownloadError::Redirect {
            host: self.hosts.last().cloned().unwrap_or_default(),
            why: "too often",
        })
    }

    fn request(
        &self,
        url: &Url,
        destination: &Destination,
        part: &Part,
    ) -> Result<Request<Pieces>, DownloadError> {
        let bad = |why| DownloadError::Protocol { host: destination.authority().to_owned(), why };
        let mut uri = url.path().to_owned();
        if let Some(query) = url.query() {
            uri.push('?');
            uri.push_str(query);
        }
        let mut request =
            Request::get(uri).body(Pieces::default()).map_err(|_| bad("the address cannot be asked for"))?;
        let headers = request.headers_mut();
        let mut put = |name: HeaderName, value: &str| {
            HeaderValue::from_str(value).map(|value| headers.insert(name, value)).map(drop)
        };
        let all = [
            put(HOST, &destination.host_header()),
            put(USER_AGENT, concat!("inshore/", env!("CARGO_PKG_VERSION"))),
            put(ACCEPT, "*/*"),
            put(ACCEPT_ENCODING, "identity"),
        ];
        if all.iter().any(Result::is_err) {
            return Err(bad("the address cannot be asked for"));
        }
        // Without the content's name only a checksum could tell whether the rest belongs to what is there.
        let known = part.etag().is_some() || self.what.sha256.is_some();
        if part.length() > 0 && known {
            let range = put(RANGE, &format!("bytes={}-", part.length()));
            let if_range = part.etag().map_or(Ok(()), |etag| put(IF_RANGE, etag));
            if range.is_err() || if_range.is_err() {
                return Err(bad("the name of the content cannot be sent"));
            }
        }
        // The token is for the hub, not for the hosts that it redirects to.
        if let Some(token) = &self.what.token
            && same_origin(url, &self.what.url)
        {
            let value = token.header("Bearer ").ok_or_else(|| bad("the token cannot be sent"))?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Puts the part where the response goes on. Gives back how long the file will be.
    async fn place(
        &mut self,
        host: &str,
        head: &response::Parts,
        part: &mut Part,
    ) -> Result<Option<u64>, DownloadError> {
        let protocol = |why| DownloadError::Protocol { host: host.to_owned(), why };
        match head.status {
            StatusCode::PARTIAL_CONTENT => {
                let (start, total) =
                    content_range(&head.headers).ok_or_else(|| protocol("a range without its place"))?;
                if start != part.length() {
                    return Err(protocol("another range than was asked for"));
                }
                Ok(total)
            }
            StatusCode::OK => {
                // The server does not know ranges, or the file is another one now.
                self.resumed_from = 0;
                part.restart(strong_etag(&head.headers)).await?;
                Ok(number(&head.headers, "content-length"))
            }
            // Everything is there already: the connection broke between the last byte and the new name.
            StatusCode::RANGE_NOT_SATISFIABLE if self.is_whole(head, part) => Ok(Some(part.length())),
            StatusCode::RANGE_NOT_SATISFIABLE => {
                part.restart(None).await?;
                self.resumed_from = 0;
                let message = format!("`{host}` has no more of the file, so it is pulled anew");
                Err(DownloadError::Connection(GateError::new(crate::gate::GateErrorKind::Broken, message)))
            }
            status => Err(DownloadError::Refused { host: host.to_owned(), status: status.as_u16() }),
        }
    }

    fn is_whole(&self, head: &response::Parts, part: &Part) -> bool {
        let expected = self.what.sha256.or(self.told);
        let unsatisfied = head.headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let total = unsatisfied.and_then(|range| range.strip_prefix("bytes */")?.parse::<u64>().ok());
        expected == Some(part.digest()) || total == Some(part.length())
    }
}

fn next_hop(from: &Url, head: &response::Parts, host: &str) -> Result<Url, DownloadError> {
    let bad = |why| DownloadError::Redirect { host: host.to_owned(), why };
    let location =
        head.headers.get(LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(|| bad("to nowhere"))?;
    let to = from.join(location).map_err(|_| bad("to something that is not an address"))?;
    let destination = Destination::of(&to).map_err(|_| bad("to an address that cannot be called"))?;
    if from.scheme() == "https" && destination.scheme() == Scheme::Http {
        return Err(bad("from https to plain http, which is not followed"));
    }
    Ok(to)
}

fn same_origin(a: &Url, b: &Url) -> bool {
    let (a, b) = (a.origin(), b.origin());
    matches!(a, Origin::Tuple(..)) && a == b
}

/// The checksum that a hub tells: the name of an LFS object is its SHA-256. Other names are Git's, and are no use here.
fn told_digest(headers: &HeaderMap) -> Option<Digest> {
    let text = headers.get("x-linked-etag")?.to_str().ok()?;
    text.trim_start_matches("W/").trim_matches('"').parse().ok()
}

/// A name of the content that `If-Range` takes: weak ones are not (RFC 9110, section 13.1.5).
fn strong_etag(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(ETAG)?.to_str().ok()?;
    (text.starts_with('"') && text.len() < 1024).then(|| text.to_owned())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// `bytes 5-9/10`: where the range starts, and the whole length.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = text.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

fn check_space(path: &Path, total: Option<u64>, have: u64) -> Result<(), DownloadError> {
    let Some(needed) = total.map(|total| total.saturating_sub(have)) else { return Ok(()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Where the system does not tell, the write itself will.
    match fs4::available_space(folder) {
        Ok(free) if free < needed.saturating_add(RESERVE) => Err(DownloadError::NoSpace { needed, free }),
        _ => Ok(()),
    }
}

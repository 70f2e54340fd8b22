//! A model hub with its content network, as Hugging Face's: `/OWNER/REPO/resolve/REV/FILE` answers with the file's
//! checksum and a redirect to another origin, which serves ranges.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Response;
use sha2::{Digest, Sha256};

use crate::server::{Deed, End, Notes, ReplyBody, Seen, Server};

/// What goes wrong with one download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubFault {
    /// The connection breaks after this many bytes of the body.
    CutAfter(usize),
    /// The whole file is sent, whatever range was asked for.
    IgnoreRange,
    /// A range is answered with another range.
    WrongRange,
    /// The content network answers with this status.
    Status(u16),
    /// The redirect leads to this address.
    RedirectTo(String),
    /// Nothing comes after this many bytes.
    StallAfter(usize),
}

#[derive(Debug, Clone)]
struct File {
    bytes: Bytes,
    /// The checksum that the hub tells; not always the right one.
    told: Option<String>,
}

#[derive(Debug, Default)]
struct Shelf {
    files: Mutex<HashMap<String, File>>,
    faults: Mutex<VecDeque<HubFault>>,
}

/// A running hub and its content network, on two ports.
#[derive(Debug)]
pub struct Hub {
    shelf: Arc<Shelf>,
    front: Server,
    content: Server,
}

impl Hub {
    /// Starts both on loopback.
    pub async fn start() -> io::Result<Self> {
        let shelf = Arc::new(Shelf::default());
        let content = Server::start(Arc::new(Content(shelf.clone())), 0).await?;
        let origin = format!("http://{}", content.address());
        let front = Server::start(Arc::new(Front { shelf: shelf.clone(), origin }), 0).await?;
        Ok(Self { shelf, front, content })
    }

    /// The hub's address.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.front.address())
    }

    /// Puts a file at `OWNER/REPO/FILE`, or replaces it. The hub tells its checksum.
    pub fn put(&self, path: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let told = Some(hex::encode(Sha256::digest(&bytes)));
        self.put_with(path, bytes, told);
    }

    /// The same with another checksum, or none.
    pub fn put_with(&self, path: &str, bytes: impl Into<Bytes>, told: Option<String>) {
        let file = File { bytes: bytes.into(), told };
        self.shelf.files.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), file);
    }

    /// The next request that has no fault yet gets this one.
    pub fn fail(&self, fault: HubFault) {
        self.shelf.faults.lock().unwrap_or_else(PoisonError::into_inner).push_back(fault);
    }

    /// The hub itself: requests seen.
    pub fn front(&self) -> &Server {
        &self.front
    }

    /// The content network: requests seen.
    pub fn content(&self) -> &Server {
        &self.content
    }
}

impl Shelf {
    fn file(&self, path: &str) -> Option<File> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn fault(&self, is: impl Fn(&HubFault) -> bool) -> Option<HubFault> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.front().is_some_and(is) { faults.pop_front() } else { None }
    }
}

struct Front {
    shelf: Arc<Shelf>,
    origin: String,
}

struct Content(Arc<Shelf>);

impl crate::server::Site for Front {
    fn answer(&self, seen: Seen, _notes: &Notes) -> BoxFuture<'_, Deed> {
        std::future::ready(self.redirect(&seen)).boxed()
    }
}

impl crate::server::Site for Content {
    fn answer(&self, seen: Seen, notes: &Notes) -> BoxFuture<'_, Deed> {
        notes.carried_out();
        std::future::ready(self.serve(&seen)).boxed()
    }
}

fn plain(status: u16, text: &'static str) -> Deed {
    Response::builder()
        .status(status)
        .body(ReplyBody::whole(Bytes::from_static(text.as_bytes())))
        .map_or(Deed::Break, Deed::Answer)
}

impl Front {
    fn redirect(&self, seen: &Seen) -> Deed {
        let parts: Vec<&str> = seen.path.trim_start_matches('/').splitn(5, '/').collect();
        let [owner, repo, "resolve", _revision, file] = parts.as_slice() else {
            return plain(404, "Not Found");
        };
        let path = format!("{owner}/{repo}/{file}");
        let Some(found) = self.shelf.file(&path) else { return plain(404, "Entry not found") };
        let to = match self.shelf.fault(|fault| matches!(fault, HubFault::RedirectTo(_))) {
            Some(HubFault::RedirectTo(to)) => to,
            _ => format!("{}/{path}?signature=secret", self.origin),
        };
        let mut response =
            Response::builder().status(302).header("location", to).header("x-linked-size", found.bytes.len());
        if let Some(told) = found.told {
            response = response.header("x-linked-etag", format!("\"{told}\""));
        }
        response.body(ReplyBody::whole(Bytes::from_static(b"Found"))).map_or(Deed::Break, Deed::Answer)
    }
}

impl Content {
    fn serve(&self, seen: &Seen) -> Deed {
        let path = seen.path.trim_start_matches('/').split('?').next().unwrap_or_default();
        let Some(file) = self.0.file(path) else { return plain(404, "NoSuchKey") };
        let fault = self.0.fault(|fault| !matches!(fault, HubFault::RedirectTo(_)));
        if let Some(HubFault::Status(status)) = fault {
            return plain(status, "the script says so");
        }
        let etag =
            format!("\"content-{}\"", hex::encode(Sha256::digest(&file.bytes).get(..8).unwrap_or_default()));
        let header = |name: &str| seen.headers.get(name).and_then(|value| value.to_str().ok());
        let wanted = header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let unchanged = header("if-range").is_none_or(|known| known == etag);
        let total = file.bytes.len();
        let mut start = wanted.filter(|_| unchanged && fault != Some(HubFault::IgnoreRange)).unwrap_or(0);
        let partial = start > 0;
        if start >= total && partial {
            return plain(416, "");
        }
        if fault == Some(HubFault::WrongRange) {
            start = 0;
        }
        let rest = file.bytes.slice(start..);
        let length = rest.len() as u64;
        let body = match fault {
            Some(HubFault::CutAfter(at)) if at < rest.len() => {
                ReplyBody::part_of(rest.slice(..at), length, End::Cut)
            }
            Some(HubFault::StallAfter(at)) if at < rest.len() => {
                ReplyBody::part_of(rest.slice(..at), length, End::Stall)
            }
            _ => ReplyBody::whole(rest),
        };
        let mut response = Response::builder()
            .status(if partial { 206 } else { 200 })
            .header("etag", etag)
            .header("accept-ranges", "bytes");
        if partial {
            response = response
                .header("content-range", format!("bytes {start}-{}/{total}", total.saturating_sub(1)));
        }
        response.body(body).map_or(Deed::Break, Deed::Answer)
    }
}

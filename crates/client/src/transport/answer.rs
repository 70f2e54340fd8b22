use super::Client;
use super::connection::Stream;
use super::error::Error;
use crate::event::Event;
use crate::page::{Page, State};
use crate::sse::SseDecoder;

/// An answer that is being made.
#[derive(Debug)]
pub struct Answer {
    client: Client,
    page: Page,
    decoder: SseDecoder,
    /// `None` after the connection broke.
    stream: Option<Stream>,
    receipt: Option<String>,
    /// Connections since the last event.
    tries: u32,
    /// What the last of them met.
    met: Option<Error>,
}

impl Answer {
    pub(super) fn new(client: Client, stream: Stream) -> Self {
        let receipt = stream.receipt.clone();
        let decoder = SseDecoder::default();
        Self { client, page: Page::default(), decoder, stream: Some(stream), receipt, tries: 0, met: None }
    }

    /// The answer as it stands.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// The id of the answer's receipt.
    pub fn receipt(&self) -> Option<&str> {
        self.receipt.as_deref().or_else(|| self.page.accepted().map(|accepted| accepted.receipt.as_str()))
    }

    /// The next event, which the page holds already; `None` after the last one. When the connection breaks, the answer is read on.
    /// Nothing is lost when this is dropped before it returns.
    ///
    /// # Errors
    /// When the answer is not complete, or cannot be read on or at all. What the page holds is then all there is.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            while let Some(event) = self.decoder.next_event() {
                let Some(event) = self.page.take(&event)? else { continue };
                self.tries = 0;
                return match event {
                    Event::Error(problem) => Err(Error::Failed(problem)),
                    event => Ok(Some(event)),
                };
            }
            if self.page.state() == State::Ended {
                self.stream = None;
                return Ok(None);
            }
            let Some(stream) = &mut self.stream else {
                self.read_on().await?;
                continue;
            };
            match stream.next().await {
                Some(bytes) => self.decoder.push(&bytes)?,
                None => self.stream = None,
            }
        }
    }

    /// Reads the answer to its end.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn whole(mut self) -> Result<Page, Error> {
        while self.next().await?.is_some() {}
        Ok(self.page)
    }

    /// One try to be connected again.
    async fn read_on(&mut self) -> Result<(), Error> {
        let retries = self.client.retries;
        let path = match (self.page.accepted(), &self.receipt) {
            (Some(accepted), _) => accepted.resume.clone(),
            (None, Some(receipt)) => format!("/inshore/v1/generate/{receipt}"),
            (None, None) => return Err(self.broken()),
        };
        if self.tries >= retries.tries {
            return Err(self.broken());
        }
        let wait = retries.before(self.tries);
        self.tries += 1;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let head = match self.client.read_on(&path, self.page.passed()).await {
            Ok(head) => head.accept().await,
            Err(error) => Err(error),
        };
        match head {
            Ok(stream) => {
                // Half an event of the connection before is of no use.
                (self.decoder, self.stream) = (SseDecoder::default(), Some(stream));
                Ok(())
            }
            Err(error) if error.may_pass() => {
                self.met = Some(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn broken(&mut self) -> Error {
        Error::Broken { tries: self.tries, source: self.met.take().map(Box::new) }
    }
}

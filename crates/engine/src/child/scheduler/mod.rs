//! The one thread that owns llama.cpp: takes frames, decides what each decode step computes, and sends what comes of it.
//!
//! An answer is a list of tokens, of which the first so many have been computed. Whatever happens to it (its prompt is being
//! read, it generates, it was pushed out of the cache and comes back), the next thing to do is to compute the rest of its
//! tokens, and when none is left, to draw another. So there is one loop and no states:
//! 1. take the frames that have come ([`Scheduler::handle`]),
//! 2. admit waiting answers while there is room ([`memory`] shares their prefixes),
//! 3. compute one batch ([`step`]): a token of each generating answer first, then prompts in the order they came.

mod grammars;
pub(crate) mod memory;
mod state;
mod step;
mod vectors;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use crate::child::answer::{Answer, Wishes};
use crate::child::link::{Interest, Outbox};
use crate::child::llama::{Adapter, Batch, Context, Model};
use crate::child::probe;
use crate::child::prompt::{self, Tokens};
use crate::child::sampling::{Sampler, Scratch};
use crate::frames::{Embed, FromChild, Generate, Prompt, SavePrefix, Stats, ToChild, WorkError, WorkId};
use memory::{Kinship, Memory, Relative};

/// Answers that may wait. Each holds its prompt's tokens; the daemon bounds what it sends long before.
const MAX_QUEUE: usize = 4096;
/// Answers that one request may ask for.
const MAX_ANSWERS: u32 = 128;
/// Alternatives with log-probabilities for each token: OpenAI allows 20.
const MAX_LOGPROBS: u8 = 100;
/// Stop texts of one request, and their length: each is searched for after each token.
const MAX_STOPS: usize = 64;
const MAX_STOP_BYTES: usize = 1024;
/// Room that is kept for the answer when a prompt has to be shortened and no limit was named.
const ROOM_FOR_ANSWER: usize = 256;

/// What a scheduler is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) model: Rc<Model>,
    pub(crate) context: Context,
    pub(crate) adapters: Vec<Adapter>,
    pub(crate) memory: Memory,
    /// Answers that may be live at once.
    pub(crate) sequences: usize,
    pub(crate) kv_bytes_per_token: u64,
    pub(crate) embeddings: bool,
    pub(crate) inbox: Receiver<ToChild>,
    pub(crate) outbox: Outbox,
    pub(crate) interest: Interest,
}

/// One request.
#[derive(Debug)]
struct Work {
    /// Answers that are not complete.
    open: u32,
    prompt_tokens: u32,
    /// Set when the prompt has been read.
    started: bool,
    /// Tokens that were there already.
    cached: u32,
    save: Option<(SavePrefix, usize)>,
    /// Further answers, which wait for the prompt to be read.
    siblings: Vec<Answer>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scheduler {
    parts: Parts,
    works: HashMap<WorkId, Work>,
    waiting: VecDeque<Answer>,
    /// Oldest first.
    live: Vec<Answer>,
    embeds: VecDeque<Embed>,
    restoring: state::Restoring,
    grammars: grammars::Grammars,
    ends: Option<Vec<u32>>,
    scratch: Scratch,
    batch: Batch,
    adapters_in_force: Vec<(u32, f32)>,
    stats: Stats,
}

impl Scheduler {
    /// Nothing to do yet.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            works: HashMap::new(),
            waiting: VecDeque::new(),
            live: Vec::new(),
            embeds: VecDeque::new(),
            restoring: state::Restoring::default(),
            grammars: grammars::Grammars::default(),
            ends: None,
            scratch: Scratch::default(),
            batch: Batch::default(),
            adapters_in_force: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// Works until the daemon is gone (then the reading thread ends the process).
    pub(crate) fn run(mut self) {
        loop {
            if self.is_idle() && !self.wait() {
                return;
            }
            while let Ok(frame) = self.parts.inbox.try_recv() {
                self.handle(frame);
            }
            for generate in self.grammars.take_ready() {
                self.generate(generate);
            }
            if let Some(embed) = self.embeds.pop_front() {
                self.embed(&embed);
            }
            self.admit();
            self.step();
        }
    }

    /// Waits for a frame, or for the grammar reader that is being built. False: no frame will come.
    fn wait(&mut self) -> bool {
        let frame = if self.grammars.is_building() {
            self.parts.inbox.recv_timeout(grammars::LOOK_AGAIN)
        } else {
            self.parts.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match frame {
            Ok(frame) => self.handle(frame),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn generate(&mut self, generate: Generate) {
        let id = generate.id;
        if let Err(error) = self.accept(generate) {
            self.send(&FromChild::Failed { id, error });
        }
    }

    fn is_idle(&self) -> bool {
        self.live.is_empty() && self.waiting.is_empty() && self.embeds.is_empty()
    }

    fn send(&self, frame: &FromChild) {
        self.parts.outbox.send(frame);
    }

    fn handle(&mut self, frame: ToChild) {
        match frame {
            ToChild::Generate(generate) => {
                if let Some(generate) = self.grammars.hold(&self.parts.model, *generate) {
                    self.generate(generate);
                }
            }
            ToChild::Embed(embed) => self.embeds.push_back(embed),
            ToChild::Tokenize { id, prompt } => self.tokenize(id, &prompt),
            ToChild::Cancel { id } => self.cancel(id),
            ToChild::Restore(piece) => self.restore(piece),
            ToChild::Probe { id } => self.send(&FromChild::Probed { id, attempts: probe::attempts() }),
            ToChild::Stats { id } => {
                let live = u32::try_from(self.live.len()).unwrap_or(u32::MAX);
                let retained_bytes =
                    self.parts.memory.retained_cells() as u64 * self.parts.kv_bytes_per_token;
                self.send(&FromChild::Stats { id, stats: Stats { live, retained_bytes, ..self.stats } });
            }
            // What comes first cannot come again but by a fault of the daemon; the reading thread has dealt with a shutdown.
            ToChild::Load(_) | ToChild::Write { .. } | ToChild::Shutdown => {}
        }
    }

    fn tokenize(&self, id: WorkId, prompt: &Prompt) {
        let frame = match prompt::tokens(&*self.parts.model, prompt) {
            Ok(tokens) => FromChild::Tokens {
                id,
                tokens: tokens.all.iter().filter_map(|token| u32::try_from(*token).ok()).collect(),
            },
            Err(error) => FromChild::Failed { id, error },
        };
        self.send(&frame);
    }

    /// Checks a request and puts its answers in the queue.
    fn accept(&mut self, generate: Generate) -> Result<(), WorkError> {
        self.check(&generate)?;
        let mut tokens = prompt::tokens(&*self.parts.model, &generate.prompt)?;
        self.fit(&generate, &mut tokens)?;
        let save = generate.save.map(|save| {
            let count = match (save.pieces, &generate.prompt) {
                (Some(pieces), Prompt::Pieces(all)) => {
                    let pieces = usize::try_from(pieces).unwrap_or(usize::MAX);
                    prompt::piece_tokens(&*self.parts.model, all, pieces, &tokens.all)
                }
                _ => tokens.all.len(),
            };
            (save, count)
        });
        let wishes = Rc::new(Wishes {
            max_tokens: generate.max_tokens.unwrap_or(u32::MAX),
            logprobs: generate.logprobs,
            ignore_eos: generate.ignore_eos,
            show_special: generate.show_special,
            kinship: Rc::new(Kinship { scope: generate.scope, adapters: generate.adapters }),
        });
        let mut answers = Vec::new();
        let mut sampling = generate.sampling;
        if generate.ignore_eos && generate.constraint.is_none() {
            // The model may not even draw them, or what follows would be a text that has ended.
            sampling.logit_bias.extend(self.ends().iter().map(|end| (*end, f32::NEG_INFINITY)));
        }
        for index in 0..generate.answers {
            let constraint = self.grammars.read(generate.constraint.as_ref())?;
            let sampler = Sampler::new(sampling.clone(), index);
            let stops = generate.stop.clone();
            let wishes = Rc::clone(&wishes);
            answers.push(Answer::new(
                generate.id,
                index,
                wishes,
                tokens.all.clone(),
                sampler,
                constraint,
                stops,
            ));
        }
        let siblings = answers.split_off(1.min(answers.len()));
        let prompt_tokens = u32::try_from(tokens.all.len()).unwrap_or(u32::MAX);
        let work = Work { open: generate.answers, prompt_tokens, started: false, cached: 0, save, siblings };
        self.works.insert(generate.id, work);
        self.waiting.extend(answers);
        Ok(())
    }

    /// The tokens that end an answer. Found when first needed: the whole vocabulary has to be asked.
    fn ends(&mut self) -> &[u32] {
        let model = &self.parts.model;
        self.ends.get_or_insert_with(|| {
            let all = 0..u32::try_from(model.vocab_size()).unwrap_or(0);
            all.filter(|token| i32::try_from(*token).is_ok_and(|token| model.is_end(token))).collect()
        })
    }

    fn check(&self, generate: &Generate) -> Result<(), WorkError> {
        let bad =
            |field: &str, message: String| Err(WorkError::BadParameter { field: field.into(), message });
        if self.parts.embeddings {
            return Err(WorkError::Unsupported {
                message: "the model is loaded for embeddings, not for text".into(),
            });
        }
        if !self.parts.model.generates() {
            return Err(WorkError::Unsupported {
                message: "the model does not continue text token by token".into(),
            });
        }
        if self.works.contains_key(&generate.id) {
            return bad("id", format!("work {} is being done already", generate.id));
        }
        if self.waiting.len() >= MAX_QUEUE {
            return bad("id", format!("{MAX_QUEUE} requests are waiting already"));
        }
        if !(1..=MAX_ANSWERS).contains(&generate.answers) {
            return bad(
                "n",
                format!("{} answers are asked for, and 1 to {MAX_ANSWERS} can be given", generate.answers),
            );
        }
        if generate.logprobs.is_some_and(|count| count > MAX_LOGPROBS) {
            return bad("logprobs", format!("at most {MAX_LOGPROBS} alternatives can be given"));
        }
        if generate.stop.len() > MAX_STOPS || generate.stop.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
            return bad(
                "stop",
                format!("at most {MAX_STOPS} stop texts of at most {MAX_STOP_BYTES} bytes are searched for"),
            );
        }
        let numbers = &generate.sampling;
        let finite = [
            ("temperature", numbers.temperature),
            ("top_p", numbers.top_p),
            ("min_p", numbers.min_p),
            ("repetition_penalty", numbers.repetition_penalty),
            ("presence_penalty", numbers.presence_penalty),
            ("frequency_penalty", numbers.frequency_penalty),
        ];
        if let Some((field, number)) = finite.iter().find(|(_, number)| !number.is_finite()) {
            return bad(field, format!("`{number}` is no number to sample with"));
        }
        if numbers.repetition_penalty <= 0.0 {
            return bad("repetition_penalty", "it must be above 0".into());
        }
        let known =
            |index: &u32| usize::try_from(*index).is_ok_and(|index| index < self.parts.adapters.len());
        if let Some((index, _)) =
            generate.adapters.iter().find(|(index, scale)| !known(index) || !scale.is_finite())
        {
            return bad("adapters", format!("there is no adapter {index}, or its strength is no number"));
        }
        Ok(())
    }

    /// Makes sure that the prompt fits, with room for at least one token of the answer.
    fn fit(&self, generate: &Generate, tokens: &mut Tokens) -> Result<(), WorkError> {
        let capacity = self.parts.memory.capacity();
        if tokens.all.len() < capacity {
            return Ok(());
        }
        if !generate.truncate_prompt {
            return Err(WorkError::PromptTooLong {
                prompt: u32::try_from(tokens.all.len()).unwrap_or(u32::MAX),
                context: u32::try_from(capacity).unwrap_or(u32::MAX),
            });
        }
        let asked =
            generate.max_tokens.map_or(ROOM_FOR_ANSWER, |most| usize::try_from(most).unwrap_or(usize::MAX));
        prompt::shorten(tokens, capacity - asked.clamp(1, (capacity / 2).max(1)));
        Ok(())
    }

    /// Stops a piece of work, wherever it is. What was computed for it is retained: the next keystroke often cancels the
    /// request before it, and begins like it.
    fn cancel(&mut self, id: WorkId) {
        let embeds = self.embeds.len();
        self.embeds.retain(|embed| embed.id != id);
        let dropped = self.drop_work(id);
        if self.grammars.drop_held(id) || dropped || self.embeds.len() < embeds {
            self.send(&FromChild::Failed { id, error: WorkError::Cancelled });
        }
    }

    /// Ends a piece of work with an error.
    fn fail(&mut self, id: WorkId, error: WorkError) {
        if self.drop_work(id) {
            self.send(&FromChild::Failed { id, error });
        }
    }

    fn drop_work(&mut self, id: WorkId) -> bool {
        self.waiting.retain(|answer| answer.work != id);
        while let Some(index) = self.live.iter().position(|answer| answer.work == id) {
            let answer = self.live.remove(index);
            self.retire(answer);
        }
        self.works.remove(&id).is_some()
    }

    /// Retains what an answer has computed.
    fn retire(&mut self, answer: Answer) {
        let Answer { sequence, tokens, wishes, .. } = answer;
        if let Some(sequence) = sequence {
            self.parts.memory.retain(&mut self.parts.context, sequence, &tokens, &wishes.kinship);
        }
    }

    /// Moves waiting answers into the cache, in the order they came, while there is room.
    fn admit(&mut self) {
        while self.live.len() < self.parts.sequences {
            let Some(mut answer) = self.waiting.pop_front() else { return };
            let live: Vec<Relative<'_>> = self
                .live
                .iter()
                .filter_map(|one| {
                    let sequence = one.sequence.as_ref()?;
                    Some(Relative { sequence, tokens: &one.tokens, kinship: &one.wishes.kinship })
                })
                .collect();
            let Parts { memory, context, .. } = &mut self.parts;
            let found = memory.admit(context, &answer.tokens, &answer.wishes.kinship, &live, live.is_empty());
            let Some(sequence) = found else {
                self.waiting.push_front(answer);
                return;
            };
            if let Some(work) = self.works.get_mut(&answer.work)
                && !work.started
            {
                work.cached = u32::try_from(sequence.held.len()).unwrap_or(u32::MAX);
            }
            answer.sequence = Some(sequence);
            self.live.push(answer);
        }
    }
}

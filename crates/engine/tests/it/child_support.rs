//! What the tests of the child share: a model with random weights, a child of their own, and the daemon's side of its socket.

use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use inshore_engine::frames::{
    Constraint, Finish, FromChild, Generate, KvType, Load, Loaded, Prompt, Sampling, Stats, ToChild, Token,
    WorkError, WorkId,
};

use inshore_engine::synth::{self, Shape};

/// A frame that takes this long never comes: on a busy machine a tiny model answers in less than a second.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn model(shape: &Shape) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    let mut bytes = Vec::new();
    synth::llama_model(shape, 7, &mut bytes).unwrap();
    file.write_all(&bytes).unwrap();
    file.rewind().unwrap();
    file
}

pub(crate) fn file_of(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub(crate) fn load() -> Load {
    Load {
        context: 1024,
        sequences: 4,
        batch: 512,
        threads: 1,
        gpu_layers: 0,
        mmap: true,
        kv_type: KvType::F16,
        retained_bytes: 64 << 20,
        embeddings: false,
        adapters: Vec::new(),
        require_sandbox: true,
    }
}

pub(crate) fn greedy() -> Sampling {
    Sampling {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        repetition_window: 64,
        seed: 1,
        logit_bias: Vec::new(),
    }
}

pub(crate) fn generate(id: WorkId, text: &str, tokens: u32) -> Generate {
    Generate {
        id,
        prompt: Prompt::Text(text.into()),
        scope: 0,
        sampling: greedy(),
        constraint: None,
        max_tokens: Some(tokens),
        stop: Vec::new(),
        logprobs: None,
        answers: 1,
        adapters: Vec::new(),
        truncate_prompt: false,
        ignore_eos: true,
        show_special: true,
        save: None,
    }
}

/// What became of one answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    pub(crate) finish: Option<Finish>,
    pub(crate) made: u32,
}

/// What became of one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) prompt_tokens: u32,
    pub(crate) cached_tokens: u32,
    pub(crate) answers: Vec<Answer>,
    pub(crate) error: Option<WorkError>,
}

impl Outcome {
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.error, None);
        &self.answers[0].text
    }
}

pub(crate) struct Engine {
    pub(crate) process: Child,
    pub(crate) socket: UnixStream,
    /// Frames that came while another was waited for.
    early: Vec<FromChild>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Engine {
    /// Starts a child; nothing is loaded.
    pub(crate) fn spawn(model: std::fs::File, adapters: Vec<std::fs::File>) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_inshore-engine-child"));
        let files = std::iter::once(model).chain(adapters);
        let mappings =
            files.zip(3..).map(|(file, child_fd)| FdMapping { parent_fd: OwnedFd::from(file), child_fd });
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::null());
        command.fd_mappings(mappings.collect()).unwrap();
        Self { process: command.spawn().unwrap(), socket: ours, early: Vec::new() }
    }

    /// A child with a tiny model.
    pub(crate) fn start(load: Load) -> Self {
        Self::with(&Shape::tiny(), load).0
    }

    pub(crate) fn with(shape: &Shape, load: Load) -> (Self, Loaded) {
        let adapters = load.adapters.iter().zip(1..).map(|(_, seed)| {
            let mut bytes = Vec::new();
            synth::lora_adapter(shape, seed, &mut bytes).unwrap();
            file_of(&bytes)
        });
        let mut engine = Self::spawn(model(shape), adapters.collect());
        engine.send(&ToChild::Load(load));
        match engine.next() {
            Some(FromChild::Loaded(loaded)) => (engine, loaded),
            other => panic!("not loaded: {other:?}"),
        }
    }

    pub(crate) fn send(&mut self, frame: &ToChild) {
        let body = postcard::to_stdvec(frame).unwrap();
        let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend_from_slice(&body);
        self.socket.write_all(&bytes).unwrap();
    }

    /// The next frame; `None`: the child is gone.
    pub(crate) fn next(&mut self) -> Option<FromChild> {
        let mut length = [0; 4];
        match self.socket.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the child hangs"),
            Err(_) => return None,
        }
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.socket.read_exact(&mut body).unwrap();
        Some(postcard::from_bytes(&body).unwrap())
    }

    fn next_where(&mut self, wanted: impl Fn(&FromChild) -> bool) -> FromChild {
        if let Some(at) = self.early.iter().position(&wanted) {
            return self.early.remove(at);
        }
        loop {
            let frame = self.next().expect("the child is gone");
            if wanted(&frame) {
                return frame;
            }
            self.early.push(frame);
        }
    }

    /// Follows a request to its end.
    pub(crate) fn follow(&mut self, id: WorkId, answers: usize) -> Outcome {
        let mut outcome = Outcome { answers: vec![Answer::default(); answers], ..Outcome::default() };
        let mut open = answers;
        while open > 0 {
            let mine = |frame: &FromChild| {
                let (FromChild::Started { id: other, .. }
                | FromChild::Text { id: other, .. }
                | FromChild::Finished { id: other, .. }
                | FromChild::Failed { id: other, .. }) = frame
                else {
                    return false;
                };
                *other == id
            };
            match self.next_where(mine) {
                FromChild::Started { prompt_tokens, cached_tokens, .. } => {
                    (outcome.prompt_tokens, outcome.cached_tokens) = (prompt_tokens, cached_tokens);
                }
                FromChild::Text { answer, text, tokens, .. } => {
                    outcome.answers[answer as usize].text.push_str(&text);
                    outcome.answers[answer as usize].tokens.extend(tokens);
                }
                FromChild::Finished { answer, reason, output_tokens, .. } => {
                    let answer = &mut outcome.answers[answer as usize];
                    (answer.finish, answer.made) = (Some(reason), output_tokens);
                    open -= 1;
                }
                FromChild::Failed { error, .. } => {
                    outcome.error = Some(error);
                    open = 0;
                }
                other => panic!("unexpected: {other:?}"),
            }
        }
        outcome
    }

    pub(crate) fn run(&mut self, generate: Generate) -> Outcome {
        let (id, answers) = (generate.id, generate.answers as usize);
        self.send(&ToChild::Generate(Box::new(generate)));
        self.follow(id, answers)
    }

    pub(crate) fn constrained(&mut self, id: WorkId, constraint: Constraint, tokens: u32) -> Outcome {
        let sampling = Sampling { temperature: 1.0, seed: id, ..greedy() };
        let constraint = Some(constraint);
        self.run(Generate {
            constraint,
            sampling,
            ignore_eos: false,
            show_special: false,
            ..generate(id, "Say", tokens)
        })
    }

    pub(crate) fn stats(&mut self) -> Stats {
        self.send(&ToChild::Stats { id: 9999 });
        match self.next_where(|frame| matches!(frame, FromChild::Stats { .. })) {
            FromChild::Stats { stats, .. } => stats,
            other => panic!("unexpected: {other:?}"),
        }
    }

    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&FromChild) -> bool) -> FromChild {
        self.next_where(wanted)
    }
}

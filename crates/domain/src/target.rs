//! Where work can run: a model at a place.

use std::fmt;
use std::str::FromStr;

use crate::facts::Sensitivity;
use crate::money::Currency;

/// How far away a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// This machine.
    Device,
    /// A machine of the user's or organisation's own.
    Edge,
    /// Somebody else's machine.
    Cloud,
}

impl Tier {
    /// The word used on the wire, in config and in receipts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Edge => "edge",
            Self::Cloud => "cloud",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tier {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Device, Self::Edge, Self::Cloud].into_iter().find(|tier| tier.as_str() == text).ok_or(())
    }
}

/// Names a target: `device/inshore-default`, `openai/gpt-5-mini`. Unique within an installation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub String);

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing a target can do, or a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Capability {
    /// Answers conversations.
    Chat = 1,
    /// Continues plain text.
    Completion = 1 << 1,
    /// Fills a gap between prefix and suffix.
    Infill = 1 << 2,
    /// Makes vectors.
    Embeddings = 1 << 3,
    /// Calls tools.
    Tools = 1 << 4,
    /// Keeps to a JSON schema.
    JsonSchema = 1 << 5,
    /// Keeps to a GBNF grammar or a regular expression.
    Grammar = 1 << 6,
    /// Looks at pictures.
    Vision = 1 << 7,
    /// Reports log-probabilities.
    Logprobs = 1 << 8,
    /// Takes token ids as a prompt.
    TokenPrompts = 1 << 9,
    /// Takes LoRA adapters per request.
    Adapters = 1 << 10,
    /// Samples by top-k, min-p or repetition penalty, which not every provider knows.
    ExtendedSampling = 1 << 11,
    /// Gives several answers to one request.
    ManyAnswers = 1 << 12,
}

impl Capability {
    /// All, in the order they are shown.
    pub const ALL: [Capability; 13] = [
        Self::Chat,
        Self::Completion,
        Self::Infill,
        Self::Embeddings,
        Self::Tools,
        Self::JsonSchema,
        Self::Grammar,
        Self::Vision,
        Self::Logprobs,
        Self::TokenPrompts,
        Self::Adapters,
        Self::ExtendedSampling,
        Self::ManyAnswers,
    ];

    /// The word used in config, reasons and `show`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completion => "completion",
            Self::Infill => "infill",
            Self::Embeddings => "embeddings",
            Self::Tools => "tools",
            Self::JsonSchema => "json-schema",
            Self::Grammar => "grammar",
            Self::Vision => "vision",
            Self::Logprobs => "logprobs",
            Self::TokenPrompts => "token-prompts",
            Self::Adapters => "adapters",
            Self::ExtendedSampling => "extended-sampling",
            Self::ManyAnswers => "many-answers",
        }
    }
}

/// A set of [`Capability`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities(u16);

impl Capabilities {
    /// The empty set.
    pub const NONE: Capabilities = Capabilities(0);

    /// This set and one more.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | capability as u16)
    }

    /// This set without one.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(capability as u16))
    }

    /// Whether the set holds it.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & capability as u16 != 0
    }

    /// What of `needs` this set lacks, in a fixed order.
    pub fn missing(self, needs: Capabilities) -> impl Iterator<Item = Capability> {
        self.iter_of(needs.0 & !self.0)
    }

    /// The members, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        self.iter_of(self.0)
    }

    fn iter_of(self, bits: u16) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |capability| bits & *capability as u16 != 0)
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(iter: I) -> Self {
        iter.into_iter().fold(Self::NONE, Self::with)
    }
}

/// What a target charges, in micro-units of the currency per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// The currency of all amounts below.
    pub currency: Currency,
    /// Prompt tokens.
    pub input: u64,
    /// Prompt tokens that the provider had cached.
    pub cached_input: u64,
    /// Prompt tokens that the provider writes into its cache.
    pub cache_write: u64,
    /// Answer tokens.
    pub output: u64,
    /// Prompt and answer tokens of the provider's batch API, where it has one.
    pub batch: Option<(u64, u64)>,
    /// The day on which the price was looked up, as year, month and day; `None` where the config says the price.
    pub as_of: Option<(u16, u8, u8)>,
}

impl Price {
    /// Costs nothing, and is meant to.
    pub const FREE: Price = Price::flat(Currency::USD, 0, 0);

    /// The same for all prompt tokens, cached or not, and no batch API.
    pub const fn flat(currency: Currency, input: u64, output: u64) -> Self {
        Self { currency, input, cached_input: input, cache_write: input, output, batch: None, as_of: None }
    }

    /// The dearest that a prompt token can be.
    pub fn dearest_input(&self) -> u64 {
        self.input.max(self.cached_input).max(self.cache_write)
    }
}

/// A model at a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its name.
    pub id: TargetId,
    /// The target of the config that this is one of several endpoints of; `None`: it is all there is of it. Endpoints have a
    /// destination, a region, health and latency of their own; model, price and abilities are those of the target.
    pub endpoint_of: Option<TargetId>,
    /// How far away it is.
    pub tier: Tier,
    /// The model's name as the backend knows it.
    pub model: String,
    /// Other names by which a request may ask for it.
    pub aliases: Vec<String>,
    /// Host and port that a call contacts, for receipts; `None` on the device.
    pub destination: Option<String>,
    /// Where in the world the work is done (`eu`, `us-east`), as the config says; `None` where it does not.
    pub region: Option<String>,
    /// Prompt and answer together fit in this many tokens.
    pub context_window: u32,
    /// Most tokens in one answer, where the target has such a limit.
    pub max_output: Option<u32>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// What it charges; `None` is free on the device, and unknown elsewhere.
    pub price: Option<Price>,
    /// The most sensitive text this target may see. `None`: the config does not permit this target at all.
    /// The device may always see everything.
    pub permitted_up_to: Option<Sensitivity>,
    /// How good its answers are, 0 to 100, as the config or this installation's measurements say; `None`: unknown.
    pub quality: Option<u8>,
}

impl Target {
    /// The name that the config has for it, and by which policies and caps know it: one for all endpoints of a target.
    pub fn configured_as(&self) -> &TargetId {
        self.endpoint_of.as_ref().unwrap_or(&self.id)
    }
}

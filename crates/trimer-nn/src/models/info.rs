//! What a registry entry says about its model.

use crate::task::TaskKind;
use serde::Serialize;
use trimer_core::Modality;

/// What one input of a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The frames of one utterance.
    Utterance,
    /// The utterances of one conversation.
    Conversation,
}

impl Level {
    /// As it is written in JSON and in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utterance => "utterance",
            Self::Conversation => "conversation",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a registry entry says about its model.
#[derive(Debug, Serialize)]
pub struct ModelInfo {
    /// Name on the command line and in files: lower case, digits and `_`.
    pub id: &'static str,
    /// Full name.
    pub title: &'static str,
    /// Whether an input is an utterance or a whole conversation.
    pub level: Level,
    /// The modalities that it can read.
    pub modalities: &'static [Modality],
    /// What it can learn.
    pub tasks: &'static [TaskKind],
    /// Where it was published.
    pub citation: &'static str,
    /// True when the source leaves so much open that the model is partly ours.
    pub reconstruction: bool,
    /// Names of the presets; the first is the default.
    pub presets: &'static [&'static str],
    /// One sentence.
    pub summary: &'static str,
}

impl ModelInfo {
    /// Whether the model reads whole conversations.
    pub fn reads_conversations(&self) -> bool {
        self.level == Level::Conversation
    }

    /// The modalities that it can read, with `, ` between them.
    pub fn modalities_in_words(&self) -> String {
        let names: Vec<&str> = self.modalities.iter().map(|m| m.as_str()).collect();
        names.join(", ")
    }

    /// The kinds of prediction that it can learn, as they are written, with `, ` between them.
    pub fn tasks_in_words(&self) -> String {
        let names: Vec<&str> = self.tasks.iter().map(|task| task.as_str()).collect();
        names.join(", ")
    }
}

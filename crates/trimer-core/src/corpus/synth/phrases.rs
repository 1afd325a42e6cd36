//! Something to say for every emotion.

use super::emotion::N;

const PHRASES: [[&str; 4]; N] = [
    [
        "I told you not to touch it!",
        "This is the third time you are late!",
        "Who gave you the right to decide that?",
        "Get out of my sight.",
    ],
    [
        "There is something crawling in the soup.",
        "How can anyone live in this filth?",
        "I could not swallow a single bite.",
        "The way he flatters her makes me sick.",
    ],
    [
        "Did you hear steps behind us?",
        "Please do not leave me alone here.",
        "What if they find out?",
        "I dare not look down.",
    ],
    [
        "We made it, we really made it!",
        "I have not laughed so much in years.",
        "She said yes!",
        "What a lovely morning.",
    ],
    [
        "The bus leaves at ten past four.",
        "I put the papers on your desk.",
        "It is the second door on the left.",
        "He works for the post office.",
    ],
    [
        "I still lay the table for two.",
        "Nobody remembered my birthday.",
        "There was nothing they could do for him.",
        "It will never be like that again.",
    ],
    [
        "You are back already?",
        "I had no idea you could sing!",
        "They gave it to us, just like that?",
        "Since when do you have a twin?",
    ],
];

/// A phrase for a class; `uniform` in [0, 1) chooses.
pub(super) fn say(class: usize, uniform: f64) -> &'static str {
    let phrases = &PHRASES[class];
    phrases[((uniform * phrases.len() as f64) as usize).min(phrases.len() - 1)]
}

//! Part of Trimer: to come.

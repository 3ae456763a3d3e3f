//! `init`

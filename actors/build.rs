//! Makes cargo see a new migration: the files are read by a macro, which cargo does not follow.
fn main() {
    println!("cargo:rerun-if-changed=migrations");
}

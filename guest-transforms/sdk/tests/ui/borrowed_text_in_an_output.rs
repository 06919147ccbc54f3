use wasmill_guest::{Output, State};

#[derive(Output)]
struct Shown<'a> {
    currency: &'a str,
}

#[derive(State, Default)]
struct Kept {
    currency: &'static str,
}

fn main() {}

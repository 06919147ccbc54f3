use wasmill_guest::{Input, Output, State};

#[derive(Input)]
struct Sale(i64);

#[derive(Output)]
enum Shown {
    Amount(i64),
}

#[derive(State)]
union Kept {
    count: i64,
}

fn main() {}

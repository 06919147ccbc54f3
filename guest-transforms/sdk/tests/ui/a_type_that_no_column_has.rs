use wasmill_guest::{Input, Output};

struct Money(i64);

#[derive(Input)]
struct Sale {
    amount: Money,
}

#[derive(Output)]
struct Shown {
    amount: Money,
}

fn main() {}

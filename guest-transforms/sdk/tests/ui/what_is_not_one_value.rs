use std::collections::HashMap;

use wasmill_guest::{Input, State, Sum};

#[derive(Input)]
struct Sale {
    both: (i64, i64),
    maybe: Option<Option<i64>>,
    sum: Sum<i64>,
}

#[derive(State, Default)]
struct Kept {
    by_currency: HashMap<String, i64>,
    last: Vec<i64>,
}

fn main() {}

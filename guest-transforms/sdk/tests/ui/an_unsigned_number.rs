use wasmill_guest::{Input, Output, State};

#[derive(Input)]
struct Sale {
    quantity: u64,
    price: f32,
}

#[derive(Output)]
struct Shown {
    count: usize,
}

#[derive(State, Default)]
struct Kept {
    count: Option<i32>,
}

fn main() {}

use wasmill_guest::{Decimal, Input};

#[derive(Input)]
struct Sale {
    amount: Decimal,
    price: Decimal<19>,
}

fn main() {}

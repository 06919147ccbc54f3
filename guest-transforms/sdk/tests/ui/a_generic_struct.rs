use wasmill_guest::{Decimal, Input};

#[derive(Input)]
struct Sale<T> {
    amount: T,
}

#[derive(Input)]
struct Scaled<const S: u8> {
    amount: Decimal<S>,
}

#[derive(Input)]
struct Two<'a, 'b> {
    first: &'a str,
    second: &'b str,
}

fn main() {}

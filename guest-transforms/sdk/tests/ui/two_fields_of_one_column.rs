use wasmill_guest::Input;

#[derive(Input)]
struct Sale {
    amount: i64,
    #[column(name = "amount")]
    total: i64,
}

fn main() {}

use wasmill_guest::Input;

#[derive(Input)]
#[column(name = "sale")]
struct Sale {
    #[column(rename = "total")]
    amount: i64,
    #[column(name = "")]
    empty: i64,
    #[column]
    nothing: i64,
    #[column(name = "a", name = "b")]
    twice: i64,
    #[column(name = 7)]
    number: i64,
}

fn main() {}

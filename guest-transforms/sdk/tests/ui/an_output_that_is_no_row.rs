use wasmill_guest::{Input, NoConfig, Reject, Transform};

#[derive(Input)]
struct Sale {
    amount: i64,
}

struct Convert;

impl Transform for Convert {
    type Config = NoConfig;
    type Input<'a> = Sale;
    type Output = i64;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }

    fn apply(&self, sale: Sale) -> Result<i64, Reject> {
        Ok(sale.amount)
    }
}

fn main() {}

//! A program's output: a line for each figure, `workload,contestant,measure,value`.

pub fn line(workload: &str, contestant: &str, measure: &str, value: f64) {
    println!("{workload},{contestant},{measure},{value:.4}");
}

"""START HERE. The stages in order, and what they make:

    prepare.py    manifest ─data→ DatasetVersion ─tokens→ Tokenizer, TokenSet ─measure→ Plan
    execute.py    Plan ─train→ Run, Checkpoints
                  (start.py: where it begins or goes on; drift.py: what changed since)
    validate.py   Checkpoint ─evaluate→ Report
    publish.py    Run, Report → training_metrics.json, report.html, loss.png, output folder, ref `name@latest`
    run.py        the four above, one after the other: what `trainwright run` and `trainwright resume` are
    evaluate.py   Checkpoint (or recorded outputs), evalset ─evaluate→ Evaluation
    compare.py    two Evaluations → the delta report
    branch.py     a run that goes on from another run's checkpoint: what `trainwright train --from` is
    inspect.py    what is already there: runs, lineage
    use.py        what a trained model is for: generate, export

Only this package knows the order. The rooms of the stages never import each other: they take records and give records.
"""

"""START HERE. The stages in order, and what they make:

    prepare.py    manifest ─data→ DatasetVersion ─tokens→ Tokenizer, TokenSet ─measure→ Plan
    execute.py    Plan ─train→ Run, Checkpoints
                  (start.py: where it begins or goes on; drift.py: what changed since)
    validate.py   Checkpoint ─evaluate→ Report
    publish.py    Run, Report → training_metrics.json, report.html, loss.png, output folder, ref `name@latest`
    run.py        the four above, one after the other: what `trainwright run` and `trainwright resume` are
    branch.py     a run that goes on from another run's checkpoint: what `trainwright train --from` is
    finetune.py   all that a manifest asks for: a run, the fine-tuning after it (samples.py: from traces), before and after
    asking.py     how a model is asked: as a text, or in the template it was taught with
    evaluate.py   Checkpoint (or recorded outputs), evalset ─evaluate→ Evaluation
    compare.py    two Evaluations → the delta report
    attest.py     Release → Attestation, and whether it still holds (keys.py: who signs, and who is believed)
    evidence.py   Release → one folder or zip file that proves it alone; models.py: models by name, and their cards
    inspect.py    what is already there: runs, lineage
    compare_runs.py  what is already there: several runs side by side
    track.py      runs in other people's dashboards
    use.py        what a trained model is for: generate, export
    rendering.py  traces to samples, through a chat template
    preview.py    one sample as its tokens, and which of them are to be learnt

Only this package knows the order. The rooms of the stages never import each other: they take records and give records.
"""

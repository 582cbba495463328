"""START HERE. The stages in order, and what they make:

    prepare.py    manifest ─data→ DatasetVersion ─tokens→ Tokenizer, TokenSet ─measure→ Plan
    execute.py    Plan ─train→ Run, Checkpoints
                  (start.py: where it begins or goes on; drift.py: what changed since)
    validate.py   Checkpoint ─evaluate→ Report
    publish.py    Run, Report → training_metrics.json, report.html, loss.png, output folder, ref `name@latest`
    run.py        the four above, one after the other: what `trainwright run` and `trainwright resume` are
    branch.py     a run that goes on from another run's checkpoint: what `trainwright train --from` is
    finetune.py   all that a manifest asks for: a run, the fine-tuning after it (samples.py: from traces);
                  before_after.py: what that changed
    asking.py     how a model is asked: as a text, or in the template it was taught with
    questions.py, subjects.py   what is asked (an evalset, a suite), and who: a checkpoint, a model folder
    evaluate.py   a model (or recorded outputs), a question ─evaluate→ Evaluation
                  (endpoint.py: a model behind an endpoint; evaluation_files.py: one as a file)
    scorers.py    labelled texts → TrainedScorer; judging.py: who judges, held against people → JudgeCalibration
    harness.py    Checkpoint, a task of lm-evaluation-harness → Evaluation
    seed_spread.py  runs of one plan with other seeds
    compare.py    two Evaluations → the delta report
    evaluations.py  evaluations that are already there; scoring.py: the scorers of a question, opened before it is asked
    decide.py     Checkpoint, Policy, Evaluations ─gates→ Decision
                  (on_record.py: what a gate may rest on; training_text.py: what the candidate was trained on)
    promote.py    Decision → Release, ref `name@stage`; and back
    attest.py     Release → Attestation, and whether it still holds (keys.py: who signs, and who is believed)
    evidence.py   Release → one folder or zip file that proves it alone; models.py: models by name, and their cards
    inspect.py    what is already there: runs and their records; run_rows.py: thousands of them as a list
    verify.py     a run computed again (recompute.py: in a process of its own); soundness.py: everything hashed again
    smoke.py      a framework tried for real: trained, killed, resumed, computed again
    traces.py, datasets.py, forget.py   traces, their versions, and what becomes of both when one has to go
    imported.py   a model made elsewhere, as a start; origin.py: what has to stay as it is there
    recall.py     what an earlier command made from the same inputs; journal.py: the phases of one command
    lineage.py    where anything came from and what came of it: records, traces; checked, drawn
    compare_runs.py  what is already there: several runs side by side
    track.py      runs in other people's dashboards
    accounts.py, spending.py, costs.py  what runs use and cost; what they may spend, and the guard that stops them there
    alerts.py     what is watched for, raised and delivered
    use.py        what a trained model is for: generate, export; writing.py: a model that stays open to be asked
    rendering.py  traces to samples, through a chat template
    preview.py    one sample as its tokens, and which of them are to be learnt

Only this package knows the order. The rooms of the stages never import each other: they take records and give records.
"""

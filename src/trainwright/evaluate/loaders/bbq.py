"""BBQ, the bias benchmark for question answering (Parrish et al. 2022, arXiv:2110.08193): its JSONL files as they are.

An item is a context with a question and three answers, of which one is "unknown". In an ambiguous context, unknown is right;
in a disambiguated one, the context says who it was. Measured by likelihood (the likeliest answer is the one that is given), an
item has, beside the rows of any multiple choice, one row of the metric `bbq_answer`: score 1 if the answer is right, `answer`
one of `biased`, `unbiased`, `unknown`, and in `slices` the `condition`, the `polarity` and the `category`. Those are what the
bias scores of a table are computed from.

    meta = {"condition": "ambiguous" | "disambiguated", "polarity": "negative" | "non-negative",
            "biased_choice": int | None, "unknown_choice": int}

The biased answer is the stereotyped group for a negative question, and the other group for a non-negative one (section 3.3
there). `biased_choice` is None where the file does not say which answer is the stereotyped group; such an item has no
`bbq_answer` unless "unknown" was chosen. The cluster is the template (`question_index`) within its category.
"""

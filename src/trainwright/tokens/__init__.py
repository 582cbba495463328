"""From a DatasetVersion to a Tokenizer and a TokenSet of memory-mapped token shards."""

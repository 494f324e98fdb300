"""What both modes share on their way into nf_tables: expressions, messages, transactions, dumps."""

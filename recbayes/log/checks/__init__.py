"""What the audit looks for, one idea a file; `recbayes.log.audit` runs them."""

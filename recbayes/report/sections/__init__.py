"""One file a section of the report, in the order of the page: see recbayes.report.page."""

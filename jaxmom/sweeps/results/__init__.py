"""The results of lanes as labeled arrays: dataset layouts, collectors and summaries."""

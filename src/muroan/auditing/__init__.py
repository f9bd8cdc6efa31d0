"""Plan, observe shard by shard, conclude: an audit carried out into a run directory."""

# A list of strings in JSON, one below the other.
tr -d '[]"' | tr ',' '\n' | sed 's/^ */- /'

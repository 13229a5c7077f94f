package manual

// Environment is what the program reads of its environment.
func Environment() []Entry {
	return []Entry{
		{"CHATBATCH_<FLAG>", "The value of a flag that is not given: CHATBATCH_MAX_ERRORS stands for --max-errors. Empty is as good as not set."},
		{"CHATBATCH_SECRET_KEY", "The secret key of the app. It goes before --secret-key-file."},
		{"CHATBATCH_SECRET_KEY_<PROFILE>", "The secret key of one of the apps of chatbatch work --profiles, by the name of its profile in capitals, with _ for what is no letter or digit. It goes before its secret-key-file."},
		{"CHATBATCH_USERSIG", "A ready signature, instead of the key."},
		{"CREDENTIALS_DIRECTORY", "Where a systemd unit has its credentials: chatbatch_secret_key (chatbatch_secret_key_<profile> of each app of chatbatch work --profiles), chatbatch_limiter (as --limiter-file), chatbatch_notify_url (as --notify-url-file) and chatbatch_s3 (as --s3-credentials-file)."},
		{"XDG_CONFIG_HOME", "Where chatbatch/config.yaml may lie; ~/.config if it is not set. CHATBATCH_CONFIG names another file."},
		{"XDG_STATE_HOME", "Where chatbatch/runs and chatbatch/lanes are kept; ~/.local/state if it is not set."},
		{"HOME", "Without XDG_CONFIG_HOME and XDG_STATE_HOME, the directory above those."},
		{"HTTPS_PROXY, NO_PROXY", "The proxy for calls, and for which hosts there is none."},
		{"AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN", "The keys of object storage (s3://). They go before files, but for --s3-credentials-file."},
		{"AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE", "The file of such keys, ~/.aws/credentials if it is not set, and the section of it that counts."},
		{"AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL", "Where object storage is, without --s3-endpoint."},
		{"AWS_REGION, AWS_DEFAULT_REGION", "The region of its buckets, without --s3-region."},
		{"PGPASSWORD, PGPASSFILE", "The password of the database of --limiter, if its address has none."},
		{"NO_COLOR, TERM", "No colours on a terminal if NO_COLOR is set or TERM is dumb."},
		{"GOMEMLIMIT, GOGC", "Bounds of the memory, other than the program's own."},
	}
}

// Files are where the program keeps what it knows.
func Files() []Entry {
	return []Entry{
		{"$XDG_CONFIG_HOME/chatbatch/config.yaml", "Values of flags, for all commands, and profiles for several apps; see chatbatch-config-show(1)."},
		{"$XDG_STATE_HOME/chatbatch/runs/RUN/", "A run: ledger.db, failed.csv and unprocessed.csv in the form of the input, summary.json, pace.csv, report.html. For its owner alone: there are people's data in it."},
		{"$XDG_STATE_HOME/chatbatch/lanes/", "The lanes by which the processes of a user on a host share their budget of calls. It must not lie on NFS."},
	}
}

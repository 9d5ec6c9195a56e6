package trial

// Environment is where trials were done, as far as it matters to who compares them.
type Environment struct {
	Version string `json:"version"` // of the lab
	Driver  string `json:"driver"`
	Accel   string `json:"accel"`
	// Host is the computer and its hypervisor, for people.
	Host string `json:"host"`
}

package containers

import "sync"

// instance is what runs, or ran last, under a name.
type instance struct {
	// id in containerd: one of the name's slots.
	id string
	// process is nil where antlerd can't see it.
	process *process
}

// instances remembers them by name.
type instances struct {
	mu     sync.Mutex
	byName map[string]instance
}

func (i *instances) get(name string) instance {
	i.mu.Lock()
	defer i.mu.Unlock()

	return i.byName[name]
}

func (i *instances) put(name string, latest instance) {
	i.mu.Lock()
	defer i.mu.Unlock()

	if i.byName == nil {
		i.byName = map[string]instance{}
	}

	if old := i.byName[name].process; old != nil && old != latest.process {
		old.fd.Close()
	}

	i.byName[name] = latest
}

// spares remembers the spare of each name.
type spares struct {
	mu     sync.Mutex
	byName map[string]*spare
}

func (s *spares) get(name string) *spare {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.byName[name]
}

// put replaces the spare; nil means that there is none.
func (s *spares) put(name string, latest *spare) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.byName == nil {
		s.byName = map[string]*spare{}
	}

	s.byName[name] = latest
}

// Package metric holds the losses of embeddings: pairs, triplets, proxies, neighbour distributions and hyperbolic
// distances, and the measures of retrieval and clustering.
//
// A loss of embeddings takes a model's output [batch, features], which it brings to unit length unless its comment says
// otherwise, and labels Int [batch]; it compares the examples of the batch. A loss of cosines takes the output [batch,
// classes] of a model that ends in the layer Proxies. Both are an objectives.Objective:
//
//	model := layers.Sequential{layers.Dense{Units: 32, Activation: layers.ReLU{}}, layers.Dense{Units: 16}}
//	objective := metric.MultiSimilarityOptions{}.Loss
//
//	model := layers.Sequential{..., layers.Dense{Units: 16}, metric.Proxies{Classes: 10}}
//	objective := metric.ArcFaceOptions{}.Loss
//
// Most losses have a method Of as well, for Pairs made in another way: of a batch and a memory, or of embeddings whose
// length counts. A batch without a positive or without a negative pair has the loss 0, not NaN.
//
// ICon makes one objective of two distributions over neighbours, of which many of these losses are special cases. Ball is
// hyperbolic space. Retrieval, NMI and HungarianAccuracy measure embeddings and clusters, on arrays.
//
// Importing this package, if only as _, lets objectives.ByName find the names of the table. In it f is an embedding, D a distance and s a
// cosine of unit vectors, a the anchor, p its positives and n its negatives, y the label.
//
//	name                           formula                                                                           paper                                         when to use it
//	arcface                        norm-softmax of cos(θ_y + 0.5)                                                    J. Deng et al. 2019, 1801.07698               cosines to proxies; open-set recognition
//	center                         |f - c_y|²/2                                                                      Y. Wen et al. 2016 (ECCV)                     compact classes, beside cross-entropy
//	circle                         log(1 + Σ_n e^{γ a_n(s_n-m)} Σ_p e^{-γ a_p(s_p-1+m)}), a = max(0, goal - s)       Y. Sun et al. 2020, 2002.10857                embeddings; a definite goal for both similarities
//	circle-class                   circle with s_p = cos_y, s_n = the other cosines                                  Y. Sun et al. 2020, 2002.10857                cosines to proxies; many classes
//	contrastive                    D² if alike, max(0, 1 - D)² if not                                                R. Hadsell et al. 2006                        embeddings; the simplest
//	cosface                        norm-softmax of cos_y - 0.35                                                      H. Wang et al. 2018, 1801.09414               cosines to proxies; open-set recognition
//	hyperbolic-cross-entropy       -log softmax(z)_y                                                                 K. Narayan, V. Patel 2024, 2404.14406         hierarchies, low dimensions
//	hyperbolic-pairwise-confusion  1/B Σ_i d(E(f_i), E(f_{i+B/2}))                                                   K. Narayan, V. Patel 2024, 2404.14406         one-class training, beside another loss
//	i-con                          1/n Σ_i KL(p(·|i), q(·|i))                                                        S. Alshammari et al. 2025, 2504.16929         embeddings, clusters, maps: SNE to SupCon
//	lifted                         max(0, log Σ_n e^{1 - D_n} + D_p)²/2                                              H. Song et al. 2016, 1511.06452               embeddings; smooth mining
//	multi-similarity               1/2 log(1 + Σ_p e^{-2(s - 1/2)}) + 1/50 log(1 + Σ_n e^{50(s - 1/2)})              X. Wang et al. 2019, 1904.06627               embeddings; a good first choice
//	n-pair                         log(1 + Σ_n e^{f_a·f_n - f_a·f_p})                                                K. Sohn 2016                                  embeddings of any length
//	norm-softmax                   -log softmax(30 cos)_y                                                            F. Wang et al. 2017, 1704.06369               cosines to proxies; the default
//	proxy-anchor                   log(1 + Σ_p e^{-32(s - 0.1)}) + log(1 + Σ_n e^{32(s + 0.1)}), means over proxies  S. Kim et al. 2020, 2003.13911                cosines to proxies; robust, fast
//	proxy-nca                      -log(e^{-D_y²}/Σ_{k≠y} e^{-D_k²})                                                 Y. Movshovitz-Attias et al. 2017, 1703.07464  cosines to proxies; no sampling of pairs
//	proxy-nca++                    -log softmax(-9 D²)_y                                                             E. Teh et al. 2020, 2004.01113                cosines to proxies; faster than proxy-nca
//	soft-triple                    -log softmax(20 (s_k - 0.01 [k = y]))_y, s_k = Σ_c softmax(10 cos_kc) cos_kc      Q. Qian et al. 2019, 1909.05235               cosines to proxies; classes of several parts
//	sphereface                     norm-softmax of (-1)^k cos 4θ_y - 2k, k = ⌊4θ_y/π⌋                                W. Liu et al. 2017, 1704.08063                cosines to proxies; historical comparison
//	supcon                         -1/|P| Σ_p log(e^{2s_p}/Σ_{j≠a} e^{2s_j})                                         P. Khosla et al. 2020, 2004.11362             embeddings with labels; InfoNCE if labels are pairs of views
//	triplet                        max(0, D_p² - D_n² + 0.2)                                                         F. Schroff et al. 2015, 1503.03832            embeddings; orders rather than distances
//	triplet-direction              max(0, D_p² - D_n² + 0.2 - 0.3 cos(f_n - f_a, f_p - f_a))                         D. Mohan et al. 2020 (CVPR)                   embeddings; directions of displacement
//	triplet-hard                   max(0, max D_p² - min D_n² + 0.2)                                                 A. Hermans et al. 2017, 1703.07737            embeddings; a few examples of each class a batch
//	triplet-semi-hard              D_p² - D_n² + 0.2 where D_p² < D_n² < D_p² + 0.2                                  F. Schroff et al. 2015, 1503.03832            embeddings; large batches
//	unified-pair                   log(1 + Σ_n Σ_p e^{γ(s_n - s_p + m)})                                             Y. Sun et al. 2020, 2002.10857                embeddings; a smooth hardest triplet
//	zero-shot-regression           -log softmax(9.5 V W a)_y, W from the other half                                  Y. Gürbüz et al. 2023, 2308.09228             attributes of generalised sum pooling
package metric
